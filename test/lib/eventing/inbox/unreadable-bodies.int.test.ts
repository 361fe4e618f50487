import { gzipSync } from 'node:zlib';
import { v7 as uuid, v4 as uuidV4 } from 'uuid';
import { redrive } from '#eventing/dead-letters';
import { eventually } from '../../../support/eventually.ts';
import { allDeferred, close, deliver, event, fixture, handledBy, inbox, open, SUCCESS } from './subscribed-app.ts';

beforeAll(open);
afterAll(close);

test.each([
  ['a body that is not JSON', 'not { json'],
  ['a body that is not a CloudEvent', '{"hello":"world"}'],
  ['an event without a sequence', JSON.stringify(event({ sequence: '' }))],
  ['an event whose id is not a UUID', JSON.stringify(event({ id: '1; drop table lamp' }))],
  ['an event whose event id is no UUIDv7', JSON.stringify(event({ eventid: uuidV4() }))],
  ['an empty body', ''],
  ['a body with a NUL', '\0'],
])('%s is acknowledged and becomes a dead letter with its raw body', async (_, raw) => {
  expect(await deliver(raw)).toEqual(SUCCESS);
  const rows = await fixture.database.sql('select state, consumer from eventing.kept_delivery where raw = $1', [
    raw.replaceAll('\0', '\\0'),
  ]);
  expect(rows).toEqual([{ state: 'dead', consumer: 'porch:body' }]);
});

const nested = (depth: number) => `{"data":${'['.repeat(depth)}${']'.repeat(depth)},`;
const deepEvent = (depth: number, change: object) =>
  nested(depth) +
  JSON.stringify(event(change))
    .slice(1)
    .replace(/,"data":{}/, '');

test.each(['lamp-internal', 'lamp-external'])(
  'a deeply nested event on %s is a dead letter, and other events are handled',
  async (topic) => {
    // Not next in sequence, so deferring it would require serialising it again.
    const deep = deepEvent(5_000, { sequence: '9' });
    for (let i = 0; i < 2; i++) expect(await deliver(deep, { topic })).toEqual(SUCCESS);
    const deferred = await fixture.database.sql(
      'select state, consumer, topic from eventing.kept_delivery where raw = $1',
      [deep],
    );
    expect(deferred).toEqual([{ state: 'dead', consumer: 'porch:body', topic }]);
    const next = event();
    expect(await deliver(JSON.stringify(next), { topic })).toEqual(SUCCESS);
    expect(await handledBy(next.eventid)).toHaveLength(2);
  },
);

test.each([1_000_000, 100])('an event nested %i levels deep is answered SUCCESS', async (depth) => {
  expect(await deliver(deepEvent(depth, {}))).toEqual(SUCCESS);
});

test('a broken gzip body is acknowledged and becomes a dead letter', async () => {
  const before = await allDeferred();
  expect(await deliver('no gzip', { headers: { 'content-encoding': 'gzip' } })).toEqual(SUCCESS);
  expect(await allDeferred()).toHaveLength(before.length + 1);
});

describe.each([
  ['stored by this release', 'porch:body'],
  ['stored by the previous release, under the app id', 'porch'],
])('A redriven dead letter %s', (_, name) => {
  const store = async (raw: string, topic: string | null) => {
    const id = uuid();
    await fixture.database.sql(
      `insert into eventing.kept_delivery (consumer, event_id, state, attempts, last_error, raw, topic) values ($4, $1, 'dead', 1, 'x', $2, $3)`,
      [id, raw, topic, name],
    );
    return id;
  };

  test.each(['lamp-internal', null])('is parsed again and applied: stored from topic %s', async (topic) => {
    const delivered = { ...event(), traceparent: null, target: null, sequence: '1' };
    const id = await store(JSON.stringify(delivered), topic);
    expect(await redrive(fixture.orm.em.fork(), name, id)).toBe('redriven');
    inbox.wake();
    await eventually(async () => expect(await handledBy(delivered.eventid)).toHaveLength(2));
    await eventually(async () =>
      expect(await fixture.database.sql('select 1 from eventing.kept_delivery where event_id = $1', [id])).toEqual([]),
    );
  });

  test('is applied although its event id is no UUIDv7: the previous release accepted those', async () => {
    const delivered = event({ eventid: uuidV4() });
    const id = await store(JSON.stringify(delivered), 'lamp-internal');
    expect(await redrive(fixture.orm.em.fork(), name, id)).toBe('redriven');
    inbox.wake();
    await eventually(async () => expect(await handledBy(delivered.eventid)).toHaveLength(2));
  });

  test('stays dead, with the reason, when it is still unreadable', async () => {
    const id = await store('{"specversion":"1.0"}', 'lamp-internal');
    expect(await redrive(fixture.orm.em.fork(), name, id)).toMatchObject({
      unreadable: expect.stringContaining('eventid'),
    });
    expect(await redrive(fixture.orm.em.fork(), name, uuid())).toBe('not found');
    expect(await fixture.database.sql('select state from eventing.kept_delivery where event_id = $1', [id])).toEqual([
      { state: 'dead' },
    ]);
  });
});

/** Wraps a message as daprd does for a raw subscription. */
const wrapped = (message: string) =>
  JSON.stringify({
    id: uuid(),
    specversion: '1.0',
    source: 'Dapr',
    type: 'com.dapr.event.sent',
    datacontenttype: 'application/octet-stream',
    topic: 'lamp-internal',
    pubsubname: 'pubsub',
    data_base64: Buffer.from(message).toString('base64'),
  });

test('a message wrapped by daprd is read as published, or becomes a dead letter as published', async () => {
  const delivered = event({ data: { place: '거실 ✓' } });
  expect(await deliver(wrapped(JSON.stringify(delivered)))).toEqual(SUCCESS);
  expect(await handledBy(delivered.eventid)).toHaveLength(2);
  for (const message of ['no { JSON', '"data_base64"', '{"data_base64":"eA=="}', '']) {
    expect(await deliver(wrapped(message))).toEqual(SUCCESS);
    const deferred = await fixture.database.sql('select raw, topic from eventing.kept_delivery where raw = $1', [
      message,
    ]);
    expect(deferred).toContainEqual({ raw: message, topic: 'lamp-internal' });
  }
});

test('a message that is not UTF-8 becomes a dead letter with its original wrapping', async () => {
  const message = Buffer.from(JSON.stringify(event({ type: 'lamp.\u00e9' })), 'latin1');
  const body = JSON.stringify({ ...JSON.parse(wrapped('')), data_base64: message.toString('base64') });
  expect(await deliver(body)).toEqual(SUCCESS);
  expect((await allDeferred()).at(-1)).toMatchObject({ state: 'dead', raw: body });
});

test('a body that is too large is acknowledged and becomes a dead letter without content', async () => {
  const before = await fixture.database.sql<{ n: number }>(
    `select count(*)::int as n from eventing.kept_delivery where raw = ''`,
  );
  expect(await deliver('x'.repeat(5 * 1024 * 1024))).toEqual(SUCCESS);
  const rows = await fixture.database.sql<{ last_error: string }>(
    `select last_error from eventing.kept_delivery where raw = '' order by received_at desc`,
  );
  expect(rows).toHaveLength(before[0]!.n + 1);
  expect(rows[0]!.last_error).toContain('5242880 bytes');
});

test('an event in binary mode becomes a dead letter and is not handled', async () => {
  const id = uuid();
  const headers = {
    'content-type': 'application/json',
    'ce-id': id,
    'ce-source': '/lamp',
    'ce-type': 'lamp.inspected',
  };
  expect(await deliver(`{"alone":"${id}"}`, { headers })).toEqual(SUCCESS);
  expect((await allDeferred()).at(-1)).toMatchObject({
    consumer: 'porch:body',
    state: 'dead',
    raw: `{"alone":"${id}"}`,
  });
});

test.each<[string, () => RequestInit['body'], Record<string, string>]>([
  ['is large and has no declared length', () => new Blob(['x'.repeat(5 * 1024 * 1024)]).stream(), {}],
  ['is large only after decompression', () => gzipSync('x'.repeat(5 * 1024 * 1024)), { 'content-encoding': 'gzip' }],
  ['has an unknown content coding', () => 'x', { 'content-encoding': 'snappy' }],
])('a body that %s is acknowledged and becomes a dead letter', async (_, body, headers) => {
  const before = await allDeferred();
  expect(await deliver(body(), { headers })).toEqual(SUCCESS);
  const deferred = await allDeferred();
  expect(deferred).toHaveLength(before.length + 1);
  expect(deferred.at(-1)).toMatchObject({ consumer: 'porch:body', state: 'dead', raw: '' });
  expect(deferred.at(-1)!.last_error).toContain('the limit is 4mb');
});
