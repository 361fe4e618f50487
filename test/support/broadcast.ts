import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import { type Envelope, type ReceivedEvent, sourceOf } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { type Contract, messageOf } from '#eventing/contract';
import { raise } from '#eventing/domain-event';
import { Inbox } from '#eventing/inbox';
import { withProvenance } from '#eventing/provenance';
import type { TestDatabase } from './database.ts';

interface BroadcastOptions {
  readonly contract: Contract;
  readonly system: {
    readonly database: TestDatabase;
    readonly orm: MikroORM;
    em(): EntityManager;
    messagesOf(id: string): Promise<ReceivedEvent[]>;
  };
  readonly broadcaster: Consumer;
  /** Returns any entity on which events can be raised. */
  entity(em: EntityManager): Promise<object>;
}

const SECRET = 'sesame';
const secret = fc.string().map((it) => `${SECRET} ${it}`);
const value = fc.oneof(secret, fc.array(secret, { minLength: 1 }), fc.dictionary(fc.string(), secret, { minKeys: 1 }));

/** Generates events of any type whose values, reasons and requesters are all secrets. */
function anyEvents({ eventTypes }: Contract) {
  const anyEvent = fc.constantFrom(...Object.keys(eventTypes)).chain((type) => {
    const values = [...eventTypes[type]!, 'nickname'].map((attribute) => [attribute, value]);
    const attributes = fc.record<Record<string, unknown>>(Object.fromEntries(values), { requiredKeys: [] });
    return fc.record({ type: fc.constant(type), attributes, reason: fc.option(secret, { nil: undefined }) });
  });
  return fc.array(fc.record({ event: anyEvent, requestedBy: secret }), { minLength: 1, maxLength: 4 });
}

/** Asserts that outbox rows of external messages satisfy the contract and contain no value, reason or requester of their events. */
export async function expectNoValues({ contract, system, broadcaster, entity }: BroadcastOptions): Promise<void> {
  const noop = () => undefined;
  await using inbox = new Inbox(system.orm, { ownSource: sourceOf(contract.system), log: { warn: noop, error: noop } });
  const message = messageOf(contract);
  const broadcastAll = async (raised: readonly { event: object; requestedBy: string }[]) => {
    const aggregateId = uuid();
    for (const { event, requestedBy } of raised) {
      const domainEvent = { aggregateType: contract.system.name, aggregateId, erases: false, ...event } as never;
      const raiseEvent = async (em: EntityManager) => raise(await entity(em), domainEvent);
      await withProvenance({ requestedBy }, () => system.em().transactional(raiseEvent));
    }
    for (const event of await system.messagesOf(aggregateId)) await inbox.deliver(broadcaster, event);
    return aggregateId;
  };
  await fc.assert(
    fc.asyncProperty(anyEvents(contract), async (raised) => {
      const aggregateId = await broadcastAll(raised);
      const rows = await system.database.sql<{ row: string; envelope: Envelope; ordering_key: string }>(
        `select to_json(o)::text as row, envelope, ordering_key from eventing.outbox o
          where channel = 'external' and envelope ->> 'subject' = $1 order by position`,
        [aggregateId],
      );
      const external = rows.map(({ envelope }) => message.parse(envelope).data);
      expect(external.map(({ attributeTypes }) => attributeTypes)).toEqual(
        raised.map(({ event }) => Object.keys(event.attributes).sort()),
      );
      expect(rows.map(({ ordering_key }) => ordering_key)).toEqual(raised.map(() => aggregateId));
      const stored = await system.database.sql<{ text: string }>(
        `select value as text from eventing.event_store, jsonb_each_text(attributes) where aggregate_id = $1
         union all select reason from eventing.event_store where aggregate_id = $1 and reason is not null`,
        [aggregateId],
      );
      const all = rows.map(({ row }) => row.toLowerCase()).join('\n');
      for (const { text } of [{ text: SECRET }, ...stored]) expect(all).not.toContain(text.toLowerCase());
    }),
    { numRuns: 50 },
  );
}
