import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Koa from 'koa';
import { v7 as uuid } from 'uuid';
import { envelope } from '#eventing/cloud-event';
import { daprSubscriptions } from '#eventing/dapr-subscriptions';
import { type Consumer, Inbox } from '#eventing/inbox';
import { keepUnreadable } from '#eventing/kept-deliveries';
import { Recorder } from '#eventing/recorder';
import { execute } from '#eventing/sql';
import { type Lab, openLab } from './lab.ts';

const APP_TOKEN = 'the-token-of-the-sidecar';
const log = { warn: () => undefined, error: () => undefined };
let lab: Lab;
let server: Server;
const names = { first: `first-${uuid()}`, second: `second-${uuid()}` };
let secondFails = false;

/** Of what the subscriptions told that it was delivered. */
const told: string[] = [];
beforeAll(async () => {
  lab = await openLab();
  await lab.database.sql('create table heard (consumer text, event_id uuid); grant all on heard to lab_app');
  const inbox = new Inbox(lab.orm, { log });
  const consumer = (name: string, fail: () => boolean): Consumer => ({
    name,
    order: 'convergent',
    types: 'all',
    async handle(em, event) {
      await execute(em, 'insert into heard values (?, ?)', [name, event.eventId]);
      if (fail()) throw new Error('does not work today');
    },
  });
  const app = new Koa();
  app.silent = true;
  app.use(
    daprSubscriptions({
      appId: 'lab',
      appToken: APP_TOKEN,
      inbox,
      topics: {
        'lamp-internal': {
          source: '/lamp',
          consumers: [consumer(names.first, () => false), consumer(names.second, () => secondFails)],
          recorder: new Recorder(lab.orm),
        },
      },
      heard: (topic, messageId) => told.push(messageId ?? topic),
      keepUnreadable: (raw, error) => keepUnreadable(lab.orm, 'lab', raw, error),
      log,
    }),
  );
  server = createServer(app.callback());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  server.close();
  await lab[Symbol.asyncDispose]();
});

function event(change: object = {}) {
  const id = uuid();
  return envelope({
    id,
    source: '/lamp',
    type: 'lamp.inspected',
    subject: uuid(),
    time: new Date().toISOString(),
    eventid: uuid(),
    sequence: '0000000001',
    traceparent: '',
    data: {},
    ...change,
  });
}

async function deliver(body: string, { topic = 'lamp-internal', token = APP_TOKEN } = {}) {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/events/${topic}`, {
    method: 'POST',
    headers: { 'content-type': 'application/cloudevents+json', 'dapr-api-token': token },
    body,
  });
  return { status: response.status, body: await response.text() };
}

const heard = async (eventId: string) =>
  (await lab.database.sql<{ consumer: string }>('select consumer from heard where event_id = $1', [eventId]))
    .map(({ consumer }) => consumer)
    .sort();
const SUCCESS = { status: 200, body: JSON.stringify({ status: 'SUCCESS' }) };

test('one delivery reaches every consumer of the topic', async () => {
  const delivered = event();
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  expect(await heard(delivered.eventid)).toEqual([names.first, names.second]);
});

test('an event with data that PostgreSQL would not store is kept all the same when its consumer fails', async () => {
  const delivered = event({ data: { odd: '\0 \ud800' } });
  secondFails = true;
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  secondFails = false;
  const kept = await lab.database.sql('select state from eventing.kept_delivery where event_id = $1', [
    delivered.eventid,
  ]);
  expect(kept).toEqual([{ state: 'failing' }]);
});

test('a consumer that fails keeps its delivery, and holds up no other', async () => {
  const delivered = event();
  secondFails = true;
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  secondFails = false;
  expect(await heard(delivered.eventid)).toEqual([names.first]);
  const kept = await lab.database.sql('select consumer, state from eventing.kept_delivery where event_id = $1', [
    delivered.eventid,
  ]);
  expect(kept).toEqual([{ consumer: names.second, state: 'failing' }]);
});

test('a message for another subscriber leaves no trace, and came back all the same', async () => {
  const delivered = event({ target: 'somebody-else' });
  await lab.database.sql(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope) values ($1, $2, 'internal', 'lamp-internal', 'k', '{}')`,
    [delivered.id, delivered.eventid],
  );
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  expect(await heard(delivered.eventid)).toEqual([]);
  const published = await lab.database.sql('select 1 from eventing.published where id = $1', [delivered.id]);
  expect(published).toHaveLength(1);
});

test('each delivery is told of, and which message it is once it could be read', async () => {
  told.length = 0;
  const delivered = event({ target: 'somebody-else' });
  await deliver(JSON.stringify(delivered));
  await deliver('no event');
  expect(told).toEqual(['lamp-internal', delivered.id, 'lamp-internal']);
});

test('a message for this subscriber is heard', async () => {
  const delivered = event({ target: 'lab' });
  await deliver(JSON.stringify(delivered));
  expect(await heard(delivered.eventid)).toHaveLength(2);
});

test('what a stranger says on the topic, however well, is kept for an operator, and nobody acts on it', async () => {
  const stranger = event({ source: '/stranger' });
  expect(await deliver(JSON.stringify(stranger))).toEqual(SUCCESS);
  expect(await heard(stranger.eventid)).toEqual([]);
  const kept = await lab.database.sql<{ raw: string; last_error: string }>(
    `select raw, last_error from eventing.kept_delivery where raw is not null`,
  );
  expect(kept.map(({ raw }) => raw)).toContain(JSON.stringify(stranger));
  expect(kept.map(({ last_error }) => last_error)).toContain('Error: of the source /stranger, where /lamp speaks');
});

test.each([
  ['no JSON', 'not { json'],
  ['no CloudEvent', '{"hello":"world"}'],
  ['an event without a sequence', JSON.stringify(event({ sequence: '' }))],
  ['an event whose id is no UUID', JSON.stringify(event({ id: '1; drop table lamp' }))],
  ['nothing', ''],
  ['a body with a NUL', '\0'],
])('%s is acknowledged and kept with its raw body for an operator', async (_, raw) => {
  expect(await deliver(raw)).toEqual(SUCCESS);
  const rows = await lab.database.sql('select state, consumer from eventing.kept_delivery where raw = $1', [
    raw.replaceAll('\0', '\\0'),
  ]);
  expect(rows).toEqual([{ state: 'dead', consumer: 'lab' }]);
});

test('a body that is too large to be read is acknowledged too, and an operator sees that it came', async () => {
  const before = await lab.database.sql<{ n: number }>(
    `select count(*)::int as n from eventing.kept_delivery where raw = ''`,
  );
  expect(await deliver('x'.repeat(5 * 1024 * 1024))).toEqual(SUCCESS);
  const rows = await lab.database.sql<{ last_error: string }>(
    `select last_error from eventing.kept_delivery where raw = '' order by received_at desc`,
  );
  expect(rows).toHaveLength(before[0]!.n + 1);
  expect(rows[0]!.last_error).toContain('5242880 bytes');
});

test('whoever does not show the sidecar’s token is refused, and leaves no trace', async () => {
  const forged = event();
  expect((await deliver(JSON.stringify(forged), { token: 'guessed' })).status).toBe(401);
  expect(await heard(forged.eventid)).toEqual([]);
});

test('a topic that nobody here subscribed to is not acknowledged', async () => {
  expect((await deliver(JSON.stringify(event()), { topic: 'other' })).status).toBe(404);
});
