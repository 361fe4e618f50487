import type { Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import Koa from 'koa';
import { v7 as uuid } from 'uuid';
import { envelope } from '#eventing/cloud-event';
import { daprSubscriptions } from '#eventing/dapr-subscriptions';
import { type Consumer, Inbox } from '#eventing/inbox';
import { keepUnreadable } from '#eventing/kept-deliveries';
import { Recorder } from '#eventing/recorder';
import { execute } from '#eventing/sql';
import { listen } from '#service/run';
import { eventually } from '../../support/eventually.ts';
import { type Lab, openLab } from './lab.ts';

const APP_TOKEN = 'the-token-of-the-sidecar';
let warnings = 0;
const log = { warn: () => void warnings++, error: () => undefined };
let lab: Lab;
let server: Server & AsyncDisposable;
const names = { first: `first-${uuid()}`, second: `second-${uuid()}`, inOrder: `in-order-${uuid()}` };
let secondFails = false;
let nothingCanBeKept = false;

/** Of what the subscriptions told that it was delivered. */
const told: string[] = [];
beforeAll(async () => {
  lab = await openLab();
  await lab.database.sql('create table heard (consumer text, event_id uuid); grant all on heard to lab_app');
  const inbox = new Inbox(lab.orm, { log });
  const consumer = (name: string, fail: () => boolean, how: Partial<Consumer> = {}): Consumer => ({
    name,
    order: 'convergent',
    types: 'all',
    ...how,
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
        'lamp-external': {
          source: '/lamp',
          consumers: [
            consumer(names.inOrder, () => false, { order: 'ordered', types: ['lamp.inspected'] }),
            consumer(names.first, () => false, { types: ['lamp.inspected'] }),
          ],
        },
      },
      keepUnreadable: async (raw, error) => {
        if (nothingCanBeKept) throw new Error('the database is away');
        await keepUnreadable(lab.orm, 'lab', raw, error);
      },
      heard: (topic, messageId) => told.push(messageId ?? topic),
      log,
    }),
  );
  server = await listen(app, { port: 0, host: '127.0.0.1' });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
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

async function deliver(
  body: RequestInit['body'],
  { topic = 'lamp-internal', headers = {} }: { topic?: string; headers?: Record<string, string> } = {},
) {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/events/${topic}`, {
    method: 'POST',
    headers: { 'content-type': 'application/cloudevents+json', 'dapr-api-token': APP_TOKEN, ...headers },
    body,
    duplex: 'half',
  } as RequestInit);
  return { status: response.status, body: await response.text() };
}

const heard = async (eventId: string) =>
  (await lab.database.sql<{ consumer: string }>('select consumer from heard where event_id = $1', [eventId]))
    .map(({ consumer }) => consumer)
    .sort();
const SUCCESS = { status: 200, body: JSON.stringify({ status: 'SUCCESS' }) };
const RETRY = { status: 200, body: JSON.stringify({ status: 'RETRY' }) };
/** Whatever is kept, of whomever. */
const allKept = () =>
  lab.database.sql<{ consumer: string; event_id: string; state: string; raw: string | null; last_error: string }>(
    'select * from eventing.kept_delivery order by received_at',
  );

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

/** As daprd brings a message of a raw subscription. */
const wrapped = (message: string) =>
  JSON.stringify({
    id: uuid(),
    specversion: '1.0',
    source: 'Dapr',
    type: 'com.dapr.event.sent',
    datacontenttype: 'application/octet-stream',
    topic: 'lamp-internal',
    pubsubname: 'lab',
    data_base64: Buffer.from(message).toString('base64'),
  });

test('what is wrapped by daprd is taken as it was published, and kept so when it is no event', async () => {
  const delivered = event({ data: { place: '거실 ✓' } });
  expect(await deliver(wrapped(JSON.stringify(delivered)))).toEqual(SUCCESS);
  expect(await heard(delivered.eventid)).toHaveLength(2);
  for (const message of ['no { JSON', '"data_base64"', '{"data_base64":"eA=="}', '']) {
    expect(await deliver(wrapped(message))).toEqual(SUCCESS);
    const kept = await lab.database.sql(
      'select raw from eventing.kept_delivery where raw is not null order by received_at desc limit 1',
    );
    expect(kept).toEqual([{ raw: message }]);
  }
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

describe('an event that is late', () => {
  const lateOn = (topic: string) => (change: object) => deliver(JSON.stringify(event(change)), { topic });
  const late = lateOn('lamp-external');
  const applied = (subject: string) =>
    lab.database.sql<{ consumer: string; last_sequence: string }>(
      'select consumer, last_sequence from eventing.cursor where aggregate_id = $1',
      [subject],
    );

  test('by years is applied like any other when it is news', async () => {
    const old = { eventid: uuid(), time: '2001-01-01T00:00:00.000Z' };
    expect(await late(old)).toEqual(SUCCESS);
    expect(await heard(old.eventid)).toEqual([names.first, names.inOrder]);
  });

  test.each(['lamp-internal', 'lamp-external'])(
    'and was applied before is acknowledged, with no second effect: %s',
    async (topic) => {
      const before = await allKept();
      const fact = { eventid: uuid(), subject: uuid(), time: '2001-01-01T00:00:00.000Z' };
      expect(await lateOn(topic)(fact)).toEqual(SUCCESS);
      const once = await heard(fact.eventid);
      expect(once).toHaveLength(2);
      // Sent again it is the same fact in another message; redelivered it is the same message.
      const again = event(fact);
      for (let i = 0; i < 3; i++) expect(await deliver(JSON.stringify(again), { topic })).toEqual(SUCCESS);
      expect(await heard(fact.eventid)).toEqual(once);
      expect(await allKept()).toEqual(before);
    },
  );

  test.each([1, 2, 3])(
    'because its aggregate has gone on is acknowledged, and does not take it back: %i of 3',
    async (n) => {
      const before = await allKept();
      const subject = uuid();
      for (const i of [1, 2, 3]) expect(await late({ subject, sequence: `000000000${i}` })).toEqual(SUCCESS);
      const straggler = { subject, sequence: `000000000${n}`, eventid: uuid() };
      expect(await late(straggler)).toEqual(SUCCESS);
      expect(await heard(straggler.eventid)).toEqual([names.first]);
      expect(await applied(subject)).toEqual([{ consumer: names.inOrder, last_sequence: '3' }]);
      expect(await allKept()).toEqual(before);
    },
  );
});

test('a type that nobody acts on is acknowledged without an effect, and those in order go on past it', async () => {
  const before = await allKept();
  const subject = uuid();
  const [unknown, known] = [event({ subject, type: 'lamp.invented-later' }), event({ subject, sequence: '2' })];
  for (const each of [unknown, known])
    expect(await deliver(JSON.stringify(each), { topic: 'lamp-external' })).toEqual(SUCCESS);
  expect(await heard(unknown.eventid)).toEqual([]);
  expect(await heard(known.eventid)).toEqual([names.first, names.inOrder]);
  expect(await allKept()).toEqual(before);
});

test.each(['text/plain', 'application/json', 'application/octet-stream', 'nonsense', ''])(
  'an event is an event, even where its content type is %j',
  async (type) => {
    const delivered = event();
    expect(await deliver(JSON.stringify(delivered), { headers: { 'content-type': type } })).toEqual(SUCCESS);
    expect(await heard(delivered.eventid)).toHaveLength(2);
  },
);

test('data that comes alone, with the event in headers, is kept for an operator, and nobody acts on it', async () => {
  const id = uuid();
  const headers = {
    'content-type': 'application/json',
    'ce-id': id,
    'ce-source': '/lamp',
    'ce-type': 'lamp.inspected',
  };
  expect(await deliver(`{"alone":"${id}"}`, { headers })).toEqual(SUCCESS);
  expect((await allKept()).at(-1)).toMatchObject({ consumer: 'lab', state: 'dead', raw: `{"alone":"${id}"}` });
});

test.each<[string, () => RequestInit['body'], Record<string, string>]>([
  ['does not say how large it is', () => new Blob(['x'.repeat(5 * 1024 * 1024)]).stream(), {}],
  ['is large only when it is unpacked', () => gzipSync('x'.repeat(5 * 1024 * 1024)), { 'content-encoding': 'gzip' }],
  ['is packed in an unknown way', () => 'x', { 'content-encoding': 'snappy' }],
])('a body that %s is acknowledged, and an operator sees that it came', async (_, body, headers) => {
  const before = await allKept();
  expect(await deliver(body(), { headers })).toEqual(SUCCESS);
  const kept = await allKept();
  expect(kept).toHaveLength(before.length + 1);
  expect(kept.at(-1)).toMatchObject({ consumer: 'lab', state: 'dead', raw: '' });
  expect(kept.at(-1)!.last_error).toContain('4mb are taken');
});

test('an event far larger than the outbox lets through is heard', async () => {
  const delivered = event({ data: { large: 'x'.repeat(3.5 * 1024 * 1024) } });
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  expect(await heard(delivered.eventid)).toHaveLength(2);
});

test('a delivery that breaks off is neither acknowledged nor kept: it comes again whole', async () => {
  const [before, warned] = [await allKept(), warnings];
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.end(
    `POST /events/lamp-internal HTTP/1.1\r\nHost: x\r\ndapr-api-token: ${APP_TOKEN}\r\nContent-Length: 100\r\n\r\n{"id":`,
  );
  expect(await text(socket)).not.toContain('SUCCESS');
  await eventually(() => warnings > warned);
  expect(await allKept()).toEqual(before);
});

test('what can neither be handled nor kept now is to come again', async () => {
  nothingCanBeKept = true;
  expect(await deliver('no event')).toEqual(RETRY);
  nothingCanBeKept = false;
  expect(await deliver('no event')).toEqual(SUCCESS);
});

test.each<[string, Record<string, string>]>([
  ['nothing', { 'dapr-api-token': '' }],
  ['a guess', { 'dapr-api-token': 'guessed' }],
  ['a guess as long as it', { 'dapr-api-token': 'x'.repeat(APP_TOKEN.length) }],
  ['more than it', { 'dapr-api-token': `${APP_TOKEN}x` }],
  ['it in the place of a caller’s', { 'dapr-api-token': '', authorization: `Bearer ${APP_TOKEN}` }],
])('whoever shows %s instead of the sidecar’s token is refused, and leaves no trace', async (_, headers) => {
  const before = await allKept();
  const forged = event();
  expect((await deliver(JSON.stringify(forged), { headers })).status).toBe(401);
  expect((await deliver('no event', { headers })).status).toBe(401);
  expect(await heard(forged.eventid)).toEqual([]);
  expect(await allKept()).toEqual(before);
});

test.each(['other', 'constructor', 'lamp-internal/', 'LAMP-INTERNAL', 'lamp-internal/x'])(
  'a topic that nobody here subscribed to is not acknowledged: %s',
  async (topic) => {
    expect((await deliver(JSON.stringify(event()), { topic })).status).toBe(404);
  },
);
