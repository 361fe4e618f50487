import { v7 as uuid } from 'uuid';
import { Inbox } from '#eventing/inbox';
import { failing, type LampApi, startLampApi } from './api.ts';

let api: LampApi;
let fixture: LampApi['fixture'];
let call: LampApi['call'];
let request: LampApi['request'];
let inspectedLamp: LampApi['inspectedLamp'];
beforeAll(async () => {
  api = await startLampApi();
  ({ fixture, call, request, inspectedLamp } = api);
});
afterAll(() => api[Symbol.asyncDispose]());

test('operators read the trace of each event of an aggregate, with its reason, without values', async () => {
  const lamp = await inspectedLamp();
  const { body } = await request('GET', `/v1/events?aggregateId=${lamp.id}`);
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
  const one = await request('GET', `/v1/events/${body.events[0].id}`);
  expect(one.body).toEqual(body.events[0]);
  const rest = await request('GET', `/v1/events?aggregateId=${lamp.id}&after=1&limit=1`);
  expect(rest.body.events).toHaveLength(1);
});

test('operators and readers may write ids in upper case', async () => {
  const lamp = await inspectedLamp();
  const upper = lamp.id.toUpperCase();
  const { body } = await request('GET', `/v1/events?aggregateId=${upper}`);
  expect(body.events).toHaveLength(2);
  const one = await request('GET', `/v1/events/${body.events[0].id.toUpperCase()}`);
  expect(one.body).toEqual(body.events[0]);
  expect((await request('GET', `/v1/event-heads?after=${upper}`, 'reader')).body.heads).not.toContainEqual({
    aggregateId: lamp.id,
    sequence: 2,
  });
});

test('an unknown event is answered 404', async () => {
  expect(await request('GET', `/v1/events/${uuid()}`)).toMatchObject({
    status: 404,
    body: { slug: 'event-not-found' },
  });
});

test('readers may list event heads and no other operator resource', async () => {
  const lamp = await inspectedLamp();
  const { body } = await request('GET', '/v1/event-heads', 'reader');
  expect(body.heads).toContainEqual({ aggregateId: lamp.id, sequence: 2 });
  for (const path of ['/v1/events', '/v1/dead-letters', '/v1/parked-messages']) {
    expect((await request('GET', path, 'reader')).body.slug).toBe('no-such-route');
    expect(await call('GET', path, { token: 'reader', at: 'operations' })).toMatchObject({ status: 401 });
    expect(await call('GET', path, { token: 'unknown', at: 'operations' })).toMatchObject({ status: 401 });
  }
});

test('operators list subscribers with their topics and sidecars', async () => {
  await fixture.database.sql(
    `insert into eventing.sidecar (app_id, replica, report) values ('porch', 'pod:3500',
       '{"runtimeVersion": "1.18.1", "components": [{"name": "c", "type": "t"}], "subscriptions": [{"component": "c", "topic": "d"}]}')`,
  );
  await fixture.database.sql(`insert into eventing.heard (app_id, topic) values ('porch', 'lamp-internal')`);
  const { status, body } = await request('GET', '/v1/subscribers');
  expect(status).toBe(200);
  expect(body.subscribers).toMatchObject([
    {
      appId: 'porch',
      topics: [{ topic: 'lamp-internal', lastReceivedAt: expect.any(String), stalledSince: null }],
      sidecars: [{ replica: 'pod:3500', runtimeVersion: '1.18.1', subscriptions: [{ component: 'c', topic: 'd' }] }],
    },
  ]);
  expect((await request('GET', '/v1/subscribers', 'reader')).body.slug).toBe('no-such-route');
});

test('a dead letter can be read, redriven and discarded', async () => {
  await using inbox = new Inbox(fixture.orm, {
    ownSource: '/other',
    maxAttempts: 1,
    log: { warn: () => undefined, error: () => undefined },
  });
  const event = {
    messageId: uuid(),
    eventId: uuid(),
    type: 'lamp.inspected',
    source: '/elsewhere',
    aggregateId: uuid(),
    sequence: 1,
    target: 'ALL',
    time: new Date().toISOString(),
    data: {},
  };
  const path = `/v1/dead-letters/failing/${event.eventId}`;
  await inbox.deliver(failing, event);
  const { body } = await request('GET', '/v1/dead-letters');
  expect(body.deliveries).toMatchObject([
    { consumer: 'failing', eventId: event.eventId, state: 'dead', lastError: 'Error: no' },
  ]);
  expect((await request('GET', path)).body.event).toEqual(event);
  expect((await request('POST', `${path}/redrive`)).status).toBe(204);
  expect((await request('GET', '/v1/dead-letters?state=failing')).body.deliveries).toHaveLength(1);
  expect(await request('POST', `${path}/discard`)).toMatchObject({ status: 404 });
  await fixture.database.sql(
    `update eventing.kept_delivery set state = 'dead', next_attempt_at = null where event_id = $1`,
    [event.eventId],
  );
  expect((await request('POST', `${path}/discard`)).status).toBe(204);
  const cursors = await fixture.database.sql(`select last_sequence from eventing.cursor where consumer = 'failing'`);
  expect(cursors).toEqual([{ last_sequence: '1' }]);
});

test('a parked message is listed and can be released', async () => {
  const lamp = await inspectedLamp();
  const [message] = await fixture.database.sql<{ id: string }>(
    `update eventing.outbox set parked_at = now(), attempts = 5, last_error = 'too large' where ordering_key = $1
       and position = (select min(position) from eventing.outbox where ordering_key = $1) returning id`,
    [lamp.id],
  );
  const { body } = await request('GET', '/v1/parked-messages');
  expect(body.messages).toMatchObject([{ id: message!.id, orderingKey: lamp.id, attempts: 5, lastError: 'too large' }]);
  expect((await request('POST', `/v1/parked-messages/${message!.id}/release`)).status).toBe(204);
  expect((await request('POST', `/v1/parked-messages/${message!.id}/release`)).status).toBe(404);
  expect((await request('GET', '/v1/parked-messages')).body.messages).toEqual([]);
});

describe('Pagination with `after` returns every item once, oldest first:', () => {
  test('dead letters, also with equal times and while listed ones are deleted', async () => {
    const moments = ['00.001', '00.0020', '00.0022', '00.0029', '00.003', '00.004', '00.005'];
    const eventIds = moments.map(() => uuid());
    await fixture.database.sql(
      `insert into eventing.kept_delivery (consumer, event_id, state, received_at)
       select 'failing', id, 'dead', ('2026-07-01T09:00:' || moment || 'Z')::timestamptz from unnest($1::uuid[], $2::text[]) as t(id, moment)`,
      [eventIds, moments],
    );
    const pages: string[][] = [];
    let after = '';
    do {
      const { body } = await request('GET', `/v1/dead-letters?limit=2${after && `&after=${after}`}`);
      pages.push(body.deliveries.map(({ eventId }: { eventId: string }) => eventId));
      after = body.deliveries.at(-1)?.receivedAt;
      await fixture.database.sql('delete from eventing.kept_delivery where event_id = $1', [pages.at(-1)![0]]);
    } while (after && pages.length < 9);
    expect(pages.map((page) => page.length)).toEqual([4, 2, 1, 0]);
    expect(pages.flat().toSorted()).toEqual(eventIds);
    expect([pages[0]![0], pages[1], pages[2]]).toEqual([eventIds[0], eventIds.slice(4, 6), eventIds.slice(6)]);
    for (const nowhere of ['yesterday', '0000-01-01T00:00:00Z'])
      expect((await request('GET', `/v1/dead-letters?after=${nowhere}`)).status).toBe(400);
  });

  test.each(['/v1/events', '/v1/event-heads', '/v1/dead-letters', '/v1/parked-messages'])(
    '%s documents the parameter',
    async (path) => {
      const { body } = await request('GET', '/openapi.json');
      const { parameters } = body.paths[path].get;
      const { required = false, ...after } = parameters.find(({ name }: { name: string }) => name === 'after');
      expect([after.in, required]).toEqual(['query', false]);
      expect(after.description).toContain('of the previous page');
    },
  );

  test('parked messages', async () => {
    const lamps = [await inspectedLamp(), await inspectedLamp(), await inspectedLamp()];
    const parked = await fixture.database.sql<{ id: string; position: string }>(
      'update eventing.outbox set parked_at = now() where ordering_key = any($1) returning id, position',
      [lamps.map(({ id }) => id)],
    );
    const seen: string[] = [];
    let after = 0;
    do {
      const { body } = await request('GET', `/v1/parked-messages?limit=4&after=${after}`);
      seen.push(...body.messages.map(({ id }: { id: string }) => id));
      after = body.messages.at(-1)?.position;
      for (const { id } of body.messages.slice(1)) await request('POST', `/v1/parked-messages/${id}/release`);
    } while (after && seen.length < 9);
    const oldestFirst = parked.toSorted((a, b) => Number(a.position) - Number(b.position));
    expect(seen).toEqual(oldestFirst.map(({ id }) => id));
  });
});

test('a consumer name with U+0000 is answered 400', async () => {
  const path = `/v1/dead-letters/a%00b/${uuid()}`;
  for (const [method, suffix] of [
    ['GET', ''],
    ['POST', '/redrive'],
    ['POST', '/discard'],
  ] as const)
    expect(await request(method, path + suffix)).toMatchObject({ status: 400, body: { slug: 'invalid-request' } });
});
