import type { AddressInfo } from 'node:net';
import { v7 as uuid } from 'uuid';
import { type Consumer, Inbox } from '#eventing/inbox';
import { Recorder } from '#eventing/recorder';
import { Health } from '#service/health';
import { createApi } from '#service/http';
import { createLog } from '#service/log';
import { operatorRoutes } from '#service/operator-routes';
import { listen } from '#service/run';
import { topicRoutes } from '#service/topic-routes';
import { type Lab, Lamp, lamps, openLab } from '../eventing/lab.ts';

let lab: Lab;
let server: Awaited<ReturnType<typeof listen>>;
const failing: Consumer = {
  name: 'failing',
  order: 'ordered',
  types: 'all',
  handle: async () => {
    throw new Error('no');
  },
};

beforeAll(async () => {
  lab = await openLab();
  const app = createApi({
    title: 'lab',
    version: '1',
    description: 'lab',
    routes: [...operatorRoutes(lab.keyring, [failing]), ...topicRoutes(lamps)],
    log: createLog('lab', 'fatal'),
    orm: lab.orm,
    authenticate: async (token) =>
      token === 'operator' ? { kind: 'operator' } : token === 'reader' ? { kind: 'reader', name: 'x' } : undefined,
    health: new Health({}),
  });
  server = await listen(app, { port: 0, host: '127.0.0.1' });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

async function ask(method: string, path: string, token = 'operator', sent?: object) {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(sent && { 'content-type': 'application/json' }) },
    ...(sent && { body: JSON.stringify(sent) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}

async function inspectedLamp(): Promise<Lamp> {
  const em = lab.orm.em.fork();
  const lamp = Lamp.install('hall');
  lamp.inspect('it flickered');
  em.persist(lamp);
  await em.flush();
  return lamp;
}

test('operators see the journey of each of an aggregate’s events, with its reason and without its values', async () => {
  const lamp = await inspectedLamp();
  const { body } = await ask('GET', `/v1/events?aggregateId=${lamp.id}`);
  expect(body.events).toMatchObject([
    {
      type: 'lamp.installed',
      sequence: 1,
      attributes: ['place'],
      messages: [{ channel: 'internal', publishedAt: null }],
      handledBy: [],
    },
    { type: 'lamp.inspected', sequence: 2, attributes: [], reason: 'it flickered' },
  ]);
  expect(JSON.stringify(body)).not.toContain('hall');
  const one = await ask('GET', `/v1/events/${body.events[0].id}`);
  expect(one.body).toEqual(body.events[0]);
  const rest = await ask('GET', `/v1/events?aggregateId=${lamp.id}&after=1&limit=1`);
  expect(rest.body.events).toHaveLength(1);
});

test('an event that nobody here stated or heard is not found', async () => {
  expect(await ask('GET', `/v1/events/${uuid()}`)).toMatchObject({ status: 404, body: { slug: 'event-not-found' } });
});

test('readers may see how far aggregates go, and nothing else', async () => {
  const lamp = await inspectedLamp();
  const { body } = await ask('GET', '/v1/event-heads', 'reader');
  expect(body.heads).toContainEqual({ aggregateId: lamp.id, sequence: 2 });
  for (const path of ['/v1/events', '/v1/dead-letters', '/v1/parked-messages']) {
    expect((await ask('GET', path, 'reader')).status).toBe(403);
    expect((await ask('GET', path, 'nobody')).status).toBe(401);
  }
});

test('operators see who hears what', async () => {
  await lab.database.sql(
    `insert into eventing.sidecar (app_id, replica, report) values ('porch', 'pod:3500',
       '{"runtimeVersion": "1.18.1", "components": [{"name": "c", "type": "t"}], "subscriptions": [{"component": "c", "topic": "d"}]}')`,
  );
  await lab.database.sql(`insert into eventing.heard (app_id, topic) values ('porch', 'lamp-internal')`);
  const { status, body } = await ask('GET', '/v1/subscribers');
  expect(status).toBe(200);
  expect(body.subscribers).toMatchObject([
    {
      appId: 'porch',
      topics: [{ topic: 'lamp-internal', heardAt: expect.any(String), missedSince: null }],
      sidecars: [{ replica: 'pod:3500', runtimeVersion: '1.18.1', subscriptions: [{ component: 'c', topic: 'd' }] }],
    },
  ]);
  expect((await ask('GET', '/v1/subscribers', 'reader')).status).toBe(403);
});

test('what came back last on a topic can be asked', async () => {
  const lamp = await inspectedLamp();
  const path = '/v1/topics/lamp-internal/latest-event';
  expect(await ask('GET', path)).toMatchObject({ status: 404, body: { slug: 'nothing-published' } });
  const messages = await lab.database.sql<{ id: string; event_id: string }>(
    `select id, event_id from eventing.outbox where ordering_key = $1 order by position`,
    [lamp.id],
  );
  const recorder = new Recorder(lab.orm);
  for (const [i, { id, event_id: eventId }] of messages.entries()) {
    await recorder.cameBack(id);
    const expected = { eventId, aggregateId: lamp.id, sequence: i + 1 };
    expect(await ask('GET', path)).toEqual({ status: 200, body: expected });
  }
  expect((await ask('GET', '/v1/topics/a%20b/latest-event')).status).toBe(400);
});

test('what was published can be asked, position by position, and nothing of what it says', async () => {
  const path = '/v1/topics/lamp-internal/published-events';
  const { body: beginning } = await ask('GET', `${path}?ageMs=0`);
  expect(beginning).toEqual({ events: [], next: expect.stringMatching(/^\d+_0/) });
  const lamp = await inspectedLamp();
  const messages = await lab.database.sql<{ id: string; event_id: string }>(
    'select id, event_id from eventing.outbox where ordering_key = $1 order by position',
    [lamp.id],
  );
  const recorder = new Recorder(lab.orm);
  for (const { id } of messages) await recorder.cameBack(id);
  const after = (position: string, more = '') => ask('GET', `${path}?ageMs=0&after=${position}${more}`);
  const { body: both } = await after(beginning.next);
  expect(both.events).toEqual(
    ['lamp.installed', 'lamp.inspected'].map((type, i) => ({
      eventId: messages[i]!.event_id,
      type,
      aggregateId: lamp.id,
      sequence: i + 1,
      position: expect.stringContaining(messages[i]!.id),
    })),
  );
  expect(both.next).toBe(both.events[1].position);
  expect((await after(beginning.next, '&limit=1')).body).toEqual({
    events: [both.events[0]],
    next: both.events[0].position,
  });
  expect((await after(both.events[0].position)).body.events).toEqual([both.events[1]]);
  expect((await after(beginning.next, `&before=${messages[1]!.id}`)).body.events).toEqual([both.events[0]]);
  expect((await after(both.next)).body).toEqual({ events: [], next: both.next });
  const { body: young } = await ask('GET', `${path}?after=${beginning.next}`);
  expect(young.events).toEqual([]);
  for (const wrong of ['after=1', 'after=99999999999999999_0', 'before=x', 'ageMs=-1', 'limit=0', 'limit=1001'])
    expect(await ask('GET', `${path}?${wrong}`)).toMatchObject({ status: 400 });
  expect((await ask('GET', '/v1/topics/other-external/published-events')).status).toBe(400);
});

test('readers are told of the external topic, and of no other', async () => {
  for (const question of ['latest-event', 'published-events']) {
    const refused = { status: 403, body: expect.objectContaining({ slug: 'forbidden' }) };
    expect(await ask('GET', `/v1/topics/lamp-internal/${question}`, 'reader')).toEqual(refused);
    expect((await ask('GET', `/v1/topics/lamp-external/${question}`, 'reader')).status).not.toBe(403);
  }
});

describe('An event that was published is published again', () => {
  const path = (channel: string) => `/v1/topics/lamp-${channel}/republish`;
  const waiting = (eventId: string) =>
    lab.database.sql('select channel, topic, target, envelope from eventing.outbox where event_id = $1', [eventId]);

  async function published(): Promise<string[]> {
    const lamp = await inspectedLamp();
    const messages = await lab.database.sql<{ id: string; event_id: string }>(
      'select id, event_id from eventing.outbox where ordering_key = $1 order by position',
      [lamp.id],
    );
    const recorder = new Recorder(lab.orm);
    for (const { id } of messages) await recorder.cameBack(id);
    await lab.database.sql(
      `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
       select gen_random_uuid(), event_id, 'external', 'lamp-external', 'ALL', 0, now(), now()
         from eventing.published where event_id = any($1)`,
      [messages.map(({ event_id }) => event_id)],
    );
    return messages.map(({ event_id }) => event_id);
  }

  test('in the closed form to the reader who asks, once while it is under way', async () => {
    const eventIds = await published();
    expect(await ask('POST', path('external'), 'reader', { eventIds })).toEqual({ status: 202, body: { events: 2 } });
    const [message] = await waiting(eventIds[0]!);
    expect(message).toMatchObject({ channel: 'external', topic: 'lamp-external', target: 'x' });
    expect((message as { envelope: { data: object } }).envelope.data).toEqual({
      lampId: expect.any(String),
      eventType: 'lamp.installed',
      attributeTypes: ['place'],
      occurredAt: expect.any(String),
    });
    const nothing = { status: 202, body: { events: 0 } };
    expect(await ask('POST', path('external'), 'reader', { eventIds })).toEqual(nothing);
    await lab.database.sql(
      `with sent as (delete from eventing.outbox where target = 'x' returning *)
       insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
       select id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, now() from sent`,
    );
    expect(await ask('POST', path('external'), 'reader', { eventIds })).toEqual(nothing);
    await lab.database.sql('delete from eventing.relayed');
    expect((await ask('POST', path('external'), 'reader', { eventIds })).body).toEqual({ events: 2 });
  });

  test('to nobody else when a reader asks, and not on the system’s own topic', async () => {
    const eventIds = await published();
    const refused = { status: 403, body: expect.objectContaining({ slug: 'forbidden' }) };
    expect(await ask('POST', path('external'), 'reader', { eventIds, target: 'y' })).toEqual(refused);
    expect(await ask('POST', path('internal'), 'reader', { eventIds })).toEqual(refused);
    expect(await waiting(eventIds[0]!)).toEqual([]);
    expect((await ask('POST', path('external'), 'reader', { eventIds, target: 'x' })).status).toBe(202);
  });

  test('to whom an operator says, or to all', async () => {
    const eventIds = await published();
    await ask('POST', path('internal'), 'operator', { eventIds: eventIds.slice(0, 1), target: 'worker' });
    expect(await waiting(eventIds[0]!)).toMatchObject([{ channel: 'internal', target: 'worker' }]);
    await ask('POST', path('internal'), 'operator', { eventIds: eventIds.slice(1) });
    expect(await waiting(eventIds[1]!)).toMatchObject([{ channel: 'internal', target: 'ALL' }]);
  });

  test('only if it has been published there', async () => {
    const lamp = await inspectedLamp();
    const [fact] = await lab.factsOf(lamp);
    const answer = await ask('POST', path('external'), 'operator', { eventIds: [fact!.id, uuid()] });
    expect(answer).toEqual({ status: 202, body: { events: 0 } });
  });
});

test('a dead letter can be looked at, redriven, and discarded', async () => {
  await using inbox = new Inbox(lab.orm, { maxAttempts: 1, log: { warn: () => undefined, error: () => undefined } });
  const event = {
    messageId: uuid(),
    eventId: uuid(),
    type: 'lamp.inspected',
    source: '/lamp',
    aggregateId: uuid(),
    sequence: 1,
    target: 'ALL',
    time: new Date().toISOString(),
    data: {},
  };
  const path = `/v1/dead-letters/failing/${event.eventId}`;
  await inbox.deliver(failing, event);
  const { body } = await ask('GET', '/v1/dead-letters');
  expect(body.deliveries).toMatchObject([
    { consumer: 'failing', eventId: event.eventId, state: 'dead', lastError: 'Error: no' },
  ]);
  expect((await ask('GET', path)).body.event).toEqual(event);
  expect((await ask('POST', `${path}/redrive`)).status).toBe(204);
  expect((await ask('GET', '/v1/dead-letters?state=failing')).body.deliveries).toHaveLength(1);
  expect(await ask('POST', `${path}/discard`)).toMatchObject({ status: 404 });
  await lab.database.sql(
    `update eventing.kept_delivery set state = 'dead', next_attempt_at = null where event_id = $1`,
    [event.eventId],
  );
  expect((await ask('POST', `${path}/discard`)).status).toBe(204);
  const cursors = await lab.database.sql(`select last_sequence from eventing.cursor where consumer = 'failing'`);
  expect(cursors).toEqual([{ last_sequence: '1' }]);
});

test('a parked message is listed and can be let go', async () => {
  const lamp = await inspectedLamp();
  const [message] = await lab.database.sql<{ id: string }>(
    `update eventing.outbox set parked_at = now(), attempts = 5, last_error = 'too large' where ordering_key = $1
       and position = (select min(position) from eventing.outbox where ordering_key = $1) returning id`,
    [lamp.id],
  );
  const { body } = await ask('GET', '/v1/parked-messages');
  expect(body.messages).toMatchObject([{ id: message!.id, orderingKey: lamp.id, attempts: 5, lastError: 'too large' }]);
  expect((await ask('POST', `/v1/parked-messages/${message!.id}/release`)).status).toBe(204);
  expect((await ask('POST', `/v1/parked-messages/${message!.id}/release`)).status).toBe(404);
  expect((await ask('GET', '/v1/parked-messages')).body.messages).toEqual([]);
});

describe('Page by page, each from where the one before ended, operators see every one once, oldest first:', () => {
  test('dead letters, also of the same moment, and while some of those that they have seen go', async () => {
    const moments = ['00.001', '00.0020', '00.0022', '00.0029', '00.003', '00.004', '00.005'];
    const eventIds = moments.map(() => uuid());
    await lab.database.sql(
      `insert into eventing.kept_delivery (consumer, event_id, state, received_at)
       select 'failing', id, 'dead', ('2026-07-01T09:00:' || moment || 'Z')::timestamptz from unnest($1::uuid[], $2::text[]) as t(id, moment)`,
      [eventIds, moments],
    );
    const pages: string[][] = [];
    let after = '';
    do {
      const { body } = await ask('GET', `/v1/dead-letters?limit=2${after && `&after=${after}`}`);
      pages.push(body.deliveries.map(({ eventId }: { eventId: string }) => eventId));
      after = body.deliveries.at(-1)?.receivedAt;
      await lab.database.sql('delete from eventing.kept_delivery where event_id = $1', [pages.at(-1)![0]]);
    } while (after && pages.length < 9);
    expect(pages.map((page) => page.length)).toEqual([4, 2, 1, 0]);
    expect(pages.flat().toSorted()).toEqual(eventIds);
    expect([pages[0]![0], pages[1], pages[2]]).toEqual([eventIds[0], eventIds.slice(4, 6), eventIds.slice(6)]);
    for (const nowhere of ['yesterday', '0000-01-01T00:00:00Z'])
      expect((await ask('GET', `/v1/dead-letters?after=${nowhere}`)).status).toBe(400);
  });

  test.each(['/v1/events', '/v1/event-heads', '/v1/dead-letters', '/v1/parked-messages'])(
    '%s says how',
    async (path) => {
      const { body } = await ask('GET', '/openapi.json');
      expect(body.paths[path].get.parameters).toContainEqual(
        expect.objectContaining({
          name: 'after',
          in: 'query',
          required: false,
          description: expect.stringContaining('of the page before'),
        }),
      );
    },
  );

  test('parked messages', async () => {
    const lamps = [await inspectedLamp(), await inspectedLamp(), await inspectedLamp()];
    const parked = await lab.database.sql<{ id: string; position: string }>(
      'update eventing.outbox set parked_at = now() where ordering_key = any($1) returning id, position',
      [lamps.map(({ id }) => id)],
    );
    const seen: string[] = [];
    let after = 0;
    do {
      const { body } = await ask('GET', `/v1/parked-messages?limit=4&after=${after}`);
      seen.push(...body.messages.map(({ id }: { id: string }) => id));
      after = body.messages.at(-1)?.position;
      for (const { id } of body.messages.slice(1)) await ask('POST', `/v1/parked-messages/${id}/release`);
    } while (after && seen.length < 9);
    const oldestFirst = parked.toSorted((a, b) => Number(a.position) - Number(b.position));
    expect(seen).toEqual(oldestFirst.map(({ id }) => id));
  });
});
