import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import type { Envelope, ReceivedEvent } from '#eventing/cloud-event';
import { type Contract, messageOf } from '#eventing/contract';
import { raise } from '#eventing/domain-event';
import { type Consumer, Inbox } from '#eventing/inbox';
import { withProvenance } from '#eventing/provenance';
import type { TestDatabase } from '../support/database.ts';

interface Broadcasting {
  readonly contract: Contract;
  readonly system: {
    readonly database: TestDatabase;
    readonly orm: MikroORM;
    em(): EntityManager;
    messagesOf(id: string): Promise<ReceivedEvent[]>;
  };
  readonly broadcaster: Consumer;
  /** Some entity that facts can be raised on. */
  carrier(em: EntityManager): Promise<object>;
}

const SECRET = 'sesame';
const secret = fc.string().map((it) => `${SECRET} ${it}`);
const value = fc.oneof(secret, fc.array(secret, { minLength: 1 }), fc.dictionary(fc.string(), secret, { minKeys: 1 }));

/** Facts of any type whose every value, reason and author is a secret. */
function facts({ eventTypes }: Contract) {
  const anyFact = fc.constantFrom(...Object.keys(eventTypes)).chain((type) => {
    const values = [...eventTypes[type]!, 'nickname'].map((attribute) => [attribute, value]);
    const attributes = fc.record<Record<string, unknown>>(Object.fromEntries(values), { requiredKeys: [] });
    return fc.record({ type: fc.constant(type), attributes, reason: fc.option(secret, { nil: undefined }) });
  });
  return fc.array(fc.record({ fact: anyFact, requestedBy: secret }), { minLength: 1, maxLength: 4 });
}

/** Holds every row that the broadcaster stores for others, the whole of it, against the facts that it comes from, and the contract. */
export async function tellsNoValue({ contract, system, broadcaster, carrier }: Broadcasting): Promise<void> {
  const none = () => undefined;
  await using inbox = new Inbox(system.orm, { log: { warn: none, error: none } });
  const message = messageOf(contract);
  const tell = async (stated: readonly { fact: object; requestedBy: string }[]) => {
    const aggregateId = uuid();
    for (const { fact, requestedBy } of stated) {
      const event = { aggregateType: contract.system.name, aggregateId, erases: false, ...fact } as never;
      const state = async (em: EntityManager) => raise(await carrier(em), event);
      await withProvenance({ requestedBy }, () => system.em().transactional(state));
    }
    for (const event of await system.messagesOf(aggregateId)) await inbox.deliver(broadcaster, event);
    return aggregateId;
  };
  await fc.assert(
    fc.asyncProperty(facts(contract), async (stated) => {
      const aggregateId = await tell(stated);
      const rows = await system.database.sql<{ row: string; envelope: Envelope; ordering_key: string }>(
        `select to_json(o)::text as row, envelope, ordering_key from eventing.outbox o
          where channel = 'external' and envelope ->> 'subject' = $1 order by position`,
        [aggregateId],
      );
      const told = rows.map(({ envelope }) => message.parse(envelope).data);
      expect(told.map(({ attributeTypes }) => attributeTypes)).toEqual(
        stated.map(({ fact }) => Object.keys(fact.attributes).sort()),
      );
      expect(rows.map(({ ordering_key }) => ordering_key)).toEqual(stated.map(() => aggregateId));
      const kept = await system.database.sql<{ text: string }>(
        `select value as text from eventing.event_store, jsonb_each_text(attributes) where aggregate_id = $1
         union all select reason from eventing.event_store where aggregate_id = $1 and reason is not null`,
        [aggregateId],
      );
      const all = rows.map(({ row }) => row.toLowerCase()).join('\n');
      for (const { text } of [{ text: SECRET }, ...kept]) expect(all).not.toContain(text.toLowerCase());
    }),
    { numRuns: 50 },
  );
}
