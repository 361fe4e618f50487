import { defineEntity, p } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { type System, topicOf } from './cloud-event.ts';
import { type DomainEvent, raise } from './domain-event.ts';
import { findJourney, type Journey, type KeptDelivery, type Message } from './journal.ts';
import type { Keyring } from './keyring.ts';
import { execute } from './sql.ts';

/** The aggregate that all canaries of a system are facts about: nobody's id, and the only one that is not made at random. */
export const CANARY_ID = '00000000-0000-4000-8000-0000ca9a41e5';

const schema = defineEntity({
  name: 'Canary',
  schema: 'eventing',
  tableName: 'canary',
  properties: { id: p.uuid().primary(), sentAt: p.datetime() },
});

/** What a canary is about: a row that holds when one was sent last. Comes with the tables of eventing. */
export class Canary extends schema.class {}
schema.setClass(Canary);

/** A place that a canary comes by. */
export interface Hop {
  readonly name: string;
  /** When it came by; null when it has not yet. */
  readonly at: string | null;
  /** What keeps it from there, as far as that is known; of the first hop that it has not come by only, since the others wait for it. */
  readonly trouble: string | null;
}

/** A system that can be asked for a canary: a fact about nobody, sent to see how far it comes. */
export interface Canaries {
  /** @returns the fact's id */
  send(em: EntityManager): Promise<string>;
  /** The way of a canary, hop by hop, with what would be the trouble of each; undefined when there is none of this id. */
  follow(em: EntityManager, eventId: string): Promise<readonly Hop[] | undefined>;
}

/**
 * The canaries of a system's own: from a row through its relay and its internal topic to recorder and broadcaster, and by its external
 * topic back to the recorder.
 * @param sent the fact, which the system lists among its events, so that it travels as any other does
 */
export function ownCanaries(
  { system, keyring, broadcaster }: { system: System; keyring: Keyring; broadcaster: { readonly name: string } },
  sent: (id: string, attributes: Record<string, never>) => DomainEvent,
): Canaries {
  return {
    async send(em) {
      await em.transactional(async (tx) => {
        const canary = await tx.findOneOrFail(Canary, CANARY_ID);
        canary.sentAt = new Date();
        raise(canary, sent(CANARY_ID, {}));
      });
      // Of two sent at the same moment both may follow the later: where it comes, the earlier has come as well.
      const [row] = await execute<{ id: string }>(em, LATEST, [CANARY_ID]);
      return row!.id;
    },
    async follow(em, eventId) {
      const journey = await findJourney(em, keyring, eventId);
      return journey?.aggregateId === CANARY_ID ? hopsOf(journey, system, broadcaster.name) : undefined;
    },
  };
}

/** A hop of another system's canary: the consumer here that hears it. */
export async function heardHere(
  em: EntityManager,
  { keyring, consumer, topic, eventId }: { keyring: Keyring; consumer: string; topic: string; eventId: string },
  name: string,
): Promise<Hop> {
  const journey = await findJourney(em, keyring, eventId);
  const at = journey?.handledBy.find((by) => by.consumer === consumer)?.at ?? null;
  return { name, at, trouble: at === null ? unheard(keptBy(journey, consumer), name, topic) : null };
}

const LATEST = 'select id from eventing.event_store where aggregate_id = ? order by sequence desc limit 1';

function hopsOf(journey: Journey, system: System, broadcaster: string): Hop[] {
  const [internal, external] = [topicOf(system, 'internal'), topicOf(system, 'external')];
  // The first one, oldest first: it may have been published again since.
  const sent = (topic: string) => journey.messages.find((it) => it.topic === topic);
  const [said, broadcast] = [sent(internal), sent(external)];
  const kept = keptBy(journey, broadcaster);
  const somebody = said?.publishedAt ?? kept?.receivedAt ?? broadcast?.createdAt ?? null;
  return [
    { name: 'row', at: journey.committedAt ?? null, trouble: 'it was not stored' },
    relay(said, internal),
    { name: `topic ${internal}`, at: somebody, trouble: `the sidecar took it, and nobody has heard it on ${internal}` },
    recorder(said, internal),
    { name: broadcaster, at: broadcast?.createdAt ?? null, trouble: unheard(kept, broadcaster, internal) },
    relay(broadcast, external),
    recorder(broadcast, external),
  ];
}

function relay(message: Message | undefined, topic: string): Hop {
  const { attempts = 0, lastError, relayedAt = null } = message ?? {};
  const trouble = lastError
    ? `it was tried ${attempts} times: ${lastError}`
    : 'it waits in the outbox: no relay runs, or nothing can be published (is the broker there?), and then the relay’s log says why';
  return { name: `relay to ${topic}`, at: relayedAt, trouble };
}

function recorder(message: Message | undefined, topic: string): Hop {
  const trouble = `it has not come back: the recorder does not hear ${topic}; ${SUBSCRIPTION}`;
  return { name: `recorder of ${topic}`, at: message?.publishedAt ?? null, trouble };
}

const SUBSCRIPTION = 'is it running, has it a Subscription, and do the scopes of the Component name it?';

function unheard(kept: KeptDelivery | undefined, who: string, topic: string): string {
  if (!kept) return `${who} has not heard it on ${topic}: ${SUBSCRIPTION}`;
  return kept.state === 'early'
    ? `${who} waits for an earlier canary, which it has not got`
    : `${who} has it and cannot do its work: ${kept.lastError}`;
}

function keptBy(journey: Journey | undefined, consumer: string): KeptDelivery | undefined {
  return journey?.kept.find((it) => it.consumer === consumer);
}
