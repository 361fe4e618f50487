import type { z } from 'zod';

/** An event of one aggregate, inside the process: plain data, named in the past tense. */
export interface DomainEvent {
  readonly type: string;
  readonly aggregateType: string;
  readonly aggregateId: string;
  /** New values by attribute type. Values leave the process only encrypted, attribute types in clear text. */
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly reason?: string | undefined;
  /** Whether this is the aggregate's last event. Recording it destroys the key that encrypts the aggregate's values. */
  readonly erases: boolean;
}

export interface EventDefinition<A extends z.ZodRawShape = z.ZodRawShape> {
  /** `<aggregate>.<what-happened>`, in the past tense. It is published, so it never changes. */
  readonly type: `${string}.${string}`;
  readonly attributes: z.ZodObject<A>;
  readonly erases?: boolean;
}

export interface EventConstructor<D extends EventDefinition> {
  readonly type: D['type'];
  readonly attributes: D['attributes'];
  readonly erases: boolean;
  /**
   * @param attributes the attributes that changed, with their new values
   * @param reason as given by the caller of the action, if any
   * @throws ZodError when the attributes do not match the definition
   */
  (aggregateId: string, attributes: z.input<D['attributes']>, reason?: string): DomainEvent;
}

/**
 * Declares the events of one type of aggregate and returns a constructor for each.
 * The record lists everything that can happen to the aggregate.
 */
export function defineEvents<const D extends Record<string, EventDefinition>>(
  aggregateType: string,
  definitions: D,
): { readonly [K in keyof D]: EventConstructor<D[K]> } {
  const constructors = Object.entries(definitions).map(([name, { type, attributes, erases = false }]) => {
    const construct = (aggregateId: string, values: unknown, reason?: string): DomainEvent => ({
      type,
      aggregateType,
      aggregateId,
      attributes: attributes.parse(values),
      reason,
      erases,
    });
    return [name, Object.assign(construct, { type, attributes, erases })];
  });
  return Object.fromEntries(constructors);
}

// Not a field of the entity, because the ORM creates loaded entities without constructors or field initialisers.
const pending = new WeakMap<object, DomainEvent[]>();

// Numbers raised events, so that those raised before a transaction began are distinguished from those raised in it.
let raisedCount = 0;
const positions = new WeakMap<DomainEvent, number>();

/** Returns the present moment, for `wasRaisedBefore`. */
export const raisedSoFar = (): number => raisedCount;
export const wasRaisedBefore = (event: DomainEvent, moment: number): boolean => positions.get(event)! <= moment;

/** Adds an event to `entity`. The next flush that includes the entity stores the event, in the same transaction. */
export function raise(entity: object, event: DomainEvent): void {
  raisedCount += 1;
  positions.set(event, raisedCount);
  const events = pending.get(entity);
  if (events) events.push(event);
  else pending.set(entity, [event]);
}

/** Returns the events raised by `entity` since the last flush, oldest first. */
export function raisedBy(entity: object): readonly DomainEvent[] {
  return pending.get(entity) ?? [];
}

/** Removes and returns the events raised by `entity`, oldest first. For the flush only. */
export function takeRaised(entity: object): readonly DomainEvent[] {
  const events = raisedBy(entity);
  pending.delete(entity);
  return events;
}

/** Returns taken events to their entity, before those raised since. For the flush only. */
export function restoreEvents(entity: object, events: readonly DomainEvent[]): void {
  if (events.length > 0) pending.set(entity, [...events, ...raisedBy(entity)]);
}
