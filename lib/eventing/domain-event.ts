import type { z } from 'zod';

/** A fact about one aggregate, in the past tense, as its owner says it inside the process: plain data. */
export interface DomainEvent {
  readonly type: string;
  readonly aggregateType: string;
  readonly aggregateId: string;
  /** What changed, by name. Values leave the process only encrypted; their names (the attribute types) do in the clear. */
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly reason?: string | undefined;
  /** This is the aggregate's last fact: with it, the key that its values are encrypted with is destroyed. */
  readonly erases: boolean;
}

export interface EventDefinition<A extends z.ZodRawShape = z.ZodRawShape> {
  /** `<aggregate>.<what-happened>`, in the past tense; the published name, so it never changes. */
  readonly type: `${string}.${string}`;
  readonly attributes: z.ZodObject<A>;
  readonly erases?: boolean;
}

export interface EventConstructor<D extends EventDefinition> {
  readonly type: D['type'];
  readonly attributes: D['attributes'];
  readonly erases: boolean;
  /**
   * @param aggregateId the aggregate that the fact is about
   * @param attributes the attributes that changed, with their new values
   * @param reason why, where whoever acted gave a reason
   * @throws ZodError when the attributes are not what the definition says
   */
  (aggregateId: string, attributes: z.input<D['attributes']>, reason?: string): DomainEvent;
}

/**
 * Declares the facts of one type of aggregate, each with its name and its attributes, and returns a constructor for each.
 * The record is the list of everything that can happen to the aggregate.
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

// Not a field of the entity: the ORM builds entities it loads without running constructors or field initialisers.
const pending = new WeakMap<object, DomainEvent[]>();

// Counts what is raised: facts of before and after a moment can be told apart.
let raised = 0;
const places = new WeakMap<DomainEvent, number>();

/** A moment, to ask `wasRaisedBefore` about. */
export const momentOfRaising = (): number => raised;
export const wasRaisedBefore = (event: DomainEvent, moment: number): boolean => places.get(event)! <= moment;

/** Remembers a fact that `entity` states about itself. The next flush that sees the entity stores it, in the same transaction. */
export function raise(entity: object, event: DomainEvent): void {
  raised += 1;
  places.set(event, raised);
  const events = pending.get(entity);
  if (events) events.push(event);
  else pending.set(entity, [event]);
}

/** The facts that `entity` has raised since the last flush, oldest first. */
export function raisedBy(entity: object): readonly DomainEvent[] {
  return pending.get(entity) ?? [];
}

/** Hands over the facts that `entity` has raised, oldest first, and forgets them. For the flush only. */
export function takeRaised(entity: object): readonly DomainEvent[] {
  const events = raisedBy(entity);
  pending.delete(entity);
  return events;
}

/** Gives facts that were taken back to their entity, before any that it has raised since. For the flush only. */
export function giveBack(entity: object, events: readonly DomainEvent[]): void {
  if (events.length > 0) pending.set(entity, [...events, ...raisedBy(entity)]);
}
