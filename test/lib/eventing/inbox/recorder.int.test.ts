import { v7 as uuid } from 'uuid';
import { type ReceivedEvent, readEnvelope } from '#eventing/cloud-event';
import { type ReceivedMessage, Recorder } from '#eventing/recorder';
import { ConflictError } from '../../../../lib/eventing/store/genuine.ts';
import { eventually } from '../../../support/eventually.ts';
import { type Fixture, openFixture } from '../fixture.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const statusOf = async (id: string) => {
  const rows = await fixture.database.sql(
    'select relayed_at is not null as relayed, published_at is not null as published from eventing.delivery where id = $1',
    [id],
  );
  return rows;
};

/** Puts the message of a new event into the outbox. @returns it as it is received back */
async function enqueue(): Promise<ReceivedMessage> {
  const { id } = await fixture.install();
  const [row] = await fixture.database.sql<{ envelope: object }>(
    'select envelope from eventing.outbox where ordering_key = $1',
    [id],
  );
  return { topic: 'lamp-internal', event: readEnvelope(row!.envelope), dataOf: ({ data }) => data };
}
const idOf = ({ event }: ReceivedMessage) => event.messageId;

const MOVE = `with moved as (delete from eventing.outbox where id = $1 returning *)
  insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
  select id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, now() + interval '5 min' from moved`;

test('a relayed message is published when confirmed, also when confirmed twice', async () => {
  const recorder = new Recorder(fixture.orm);
  const message = await enqueue();
  const id = idOf(message);
  await fixture.database.sql(MOVE, [id]);
  expect(await statusOf(id)).toEqual([{ relayed: true, published: false }]);
  await recorder.confirm(message);
  await recorder.confirm(message);
  expect(await statusOf(id)).toEqual([{ relayed: true, published: true }]);
});

test('a message confirmed before the relay marks it as sent stays published', async () => {
  const recorder = new Recorder(fixture.orm);
  const message = await enqueue();
  const id = idOf(message);
  await recorder.confirm(message);
  await fixture.database.sql(MOVE, [id]);
  expect(await statusOf(id)).toEqual([{ relayed: true, published: true }]);
});

test('a message confirmed while the relay marks it as sent is published', async () => {
  const recorder = new Recorder(fixture.orm);
  const message = await enqueue();
  const id = idOf(message);
  await fixture.database.sql('begin');
  await fixture.database.sql(MOVE, [id]);
  const confirming = recorder.confirm(message);
  await eventually(async () => {
    const waiting = await fixture.database.sql('select 1 from pg_locks where not granted');
    return waiting.length > 0;
  });
  await fixture.database.sql('commit');
  await confirming;
  expect(await statusOf(id)).toEqual([{ relayed: true, published: true }]);
});

test('a confirmation does not wait for the disk, and later transactions of the connection do', async () => {
  await fixture.database.sql(`
    create table setting (name text);
    grant insert on setting to public;
    create function note() returns trigger language plpgsql as $$ begin insert into setting values (current_setting('synchronous_commit')); return new; end $$;
    create trigger note after insert on eventing.published for each row execute function note()`);
  try {
    await new Recorder(fixture.orm).confirm(await enqueue());
    expect(await fixture.database.sql('select name from setting')).toEqual([{ name: 'off' }]);
    expect(await fixture.orm.em.fork().execute('show synchronous_commit')).toEqual([{ synchronous_commit: 'on' }]);
  } finally {
    await fixture.database.sql('drop trigger note on eventing.published; drop function note; drop table setting');
  }
});

test('an unknown message of a genuine event is ignored', async () => {
  const message = await enqueue();
  const unknown = { ...message, event: { ...message.event, messageId: uuid() } };
  await new Recorder(fixture.orm).confirm(unknown);
  expect(await statusOf(idOf(unknown))).toEqual([]);
});

const isPublished = async (message: ReceivedMessage) => (await statusOf(idOf(message)))[0]!.published;

test('messages confirmed concurrently are all published', async () => {
  const recorder = new Recorder(fixture.orm);
  const messages = await Promise.all(Array.from({ length: 50 }, enqueue));
  await Promise.all(messages.map((message) => recorder.confirm(message)));
  expect(await Promise.all(messages.map(isPublished))).toEqual(messages.map(() => true));
});

test.each<[string, Partial<ReceivedEvent>]>([
  ['type', { type: 'lamp.removed' }],
  ['aggregate', { aggregateId: uuid() }],
  ['sequence', { sequence: 2 }],
  ['time', { time: '2001-01-01T00:00:00.000Z' }],
  ['data', { data: { attributes: {} } }],
  ['data that PostgreSQL cannot store', { data: '\0' }],
  ['target', { target: 'another-app' }],
  ['event', { eventId: uuid() }],
])('a message with another %s than was sent is refused, and those beside it are confirmed', async (_, change) => {
  const recorder = new Recorder(fixture.orm);
  const [before, real, after] = [await enqueue(), await enqueue(), await enqueue()];
  const forged = { ...real, event: { ...real.event, ...change } };
  const results = await Promise.allSettled([before, forged, after].map((message) => recorder.confirm(message)));
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(results[1]).toMatchObject({ reason: expect.any(ConflictError) });
  expect(await Promise.all([before, real, after].map(isPublished))).toEqual([true, false, true]);
});

test('an error of the database while a genuine message is confirmed is not taken for a result', async () => {
  const message = await enqueue();
  await fixture.database.sql(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'full' using errcode = '23514'; end $$;
    create trigger refuse before insert on eventing.published for each row execute function refuse()`);
  try {
    await expect(new Recorder(fixture.orm).confirm(message)).rejects.toMatchObject({ code: '23514' });
  } finally {
    await fixture.database.sql('drop trigger refuse on eventing.published; drop function refuse');
  }
  await new Recorder(fixture.orm).confirm(message);
  expect(await isPublished(message)).toBe(true);
});

test('a message received on another topic than its own is refused', async () => {
  const message = await enqueue();
  const elsewhere = { ...message, topic: 'lamp-external' };
  await expect(new Recorder(fixture.orm).confirm(elsewhere)).rejects.toThrow(ConflictError);
  expect(await isPublished(message)).toBe(false);
});

test.each(['before', 'after'])(
  'a forged message that arrives %s the real one with its id is refused',
  async (order) => {
    const recorder = new Recorder(fixture.orm);
    const real = await enqueue();
    const forged = { ...real, event: { ...real.event, type: 'lamp.removed' } };
    const received = order === 'before' ? [forged, real] : [real, forged];
    const results = await Promise.allSettled(received.map((message) => recorder.confirm(message)));
    expect(results.find((_, index) => received[index] === real)).toMatchObject({ status: 'fulfilled' });
    expect(results.find((_, index) => received[index] === forged)).toMatchObject({ status: 'rejected' });
    expect(await isPublished(real)).toBe(true);
  },
);
