import { type ReceivedEvent, readEnvelope } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { Reconciler, type ReconcilerOptions } from '#eventing/reconciler';
import { ownPublisher, type Publisher } from '#eventing/republish';
import { confirm } from '../../../support/confirm.ts';
import { eventually } from '../../../support/eventually.ts';
import { type Fixture, type Lamp, lamps, openFixture } from '../fixture.ts';

/** Opened by `open`, disposed by `close`. */
export let fixture: Fixture;
export async function open() {
  fixture = await openFixture();
}
export const close = () => fixture[Symbol.asyncDispose]();

export const TOPIC = 'lamp-internal';
export const AFTER_MS = 100;
export const silentLog = { warn: () => undefined, error: () => undefined };

export const consumerOf = (order: Consumer['order'], types: Consumer['types'] = 'all') => {
  const applied: string[] = [];
  const handle = async (_: unknown, event: ReceivedEvent) => void applied.push(`${event.sequence} ${event.type}`);
  return { consumer: { name: `app-${order}`, order, types, handle } satisfies Consumer, applied };
};

interface AppOptions {
  consumer: Consumer;
  publisher?: Publisher;
  log?: ReconcilerOptions['log'];
  /** Whether the app has received a message just now (default true). */
  isReceiving?: boolean;
}

/** Registers an app that has compared before. @returns a function that starts a reconciler of the app */
export async function app({ consumer, publisher, log = silentLog, isReceiving = true }: AppOptions) {
  const own = ownPublisher(fixture.orm, { system: lamps, topic: TOPIC, target: 'app' });
  const start = () =>
    new Reconciler({
      orm: fixture.orm,
      appId: 'app',
      topics: { [TOPIC]: { source: '/lamp', consumers: [consumer], publisher: publisher ?? own } },
      afterMs: AFTER_MS,
      log,
    }).start();
  await using _ = start();
  await eventually(async () => expect(await position()).not.toBeNull());
  if (isReceiving) await markReceiving(null);
  return start;
}

async function position(): Promise<string | null> {
  const [row] = await fixture.database.sql<{ position: string | null }>('select position from eventing.compared');
  return row?.position ?? null;
}

/** Marks the app as receiving for the rest of the test. @param messageId its last received message (null: unknown) */
export async function markReceiving(messageId: string | null): Promise<void> {
  await fixture.database.sql(`update eventing.heard set heard_at = 'infinity'`);
  await fixture.database.sql('update eventing.compared set message_id = $1', [messageId]);
}
export const stopReceiving = () => fixture.database.sql(`update eventing.heard set heard_at = '-infinity'`);

interface PendingMessage {
  target: string;
  event: ReceivedEvent;
  envelope: Record<string, unknown>;
}
export async function pendingMessages(): Promise<PendingMessage[]> {
  const rows = await fixture.database.sql<{ envelope: Record<string, unknown> }>(
    'select envelope from eventing.outbox order by position',
  );
  return rows.map(({ envelope }) => ({ target: String(envelope.target), event: readEnvelope(envelope), envelope }));
}

/** Confirms all pending messages. @returns them */
export async function confirmAll(): Promise<PendingMessage[]> {
  const messages = await pendingMessages();
  await confirm(fixture.database, ...messages.map(({ event }) => event.messageId));
  return messages;
}

export async function lampWith(inspections: number): Promise<Lamp> {
  const lamp = await fixture.install();
  for (let i = 0; i < inspections; i++) {
    lamp.inspect(`reason ${i}`);
    await fixture.orm.em.fork().persist(lamp).flush();
  }
  return lamp;
}

export const pendingForApp = async () => (await pendingMessages()).filter(({ target }) => target === 'app');
export const sequences = (messages: PendingMessage[]) => messages.map(({ event }) => event.sequence);
/** Waits until all messages confirmed so far have been compared. */
export async function allCompared(): Promise<void> {
  await eventually(async () => {
    const [{ done } = { done: false }] = await fixture.database.sql<{ done: boolean }>(
      `select split_part(position, '_', 2)::uuid = p.id as done
         from eventing.compared, (select id from eventing.published order by published_at desc, id desc limit 1) p`,
    );
    expect(done).toBe(true);
  });
}
