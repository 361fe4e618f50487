import { v7 as uuid } from 'uuid';
import { confirm } from '../../support/confirm.ts';
import { type LampApi, startLampApi } from './api.ts';

let api: LampApi;
let fixture: LampApi['fixture'];
let request: LampApi['request'];
let inspectedLamp: LampApi['inspectedLamp'];
beforeAll(async () => {
  api = await startLampApi();
  ({ fixture, request, inspectedLamp } = api);
});
afterAll(() => api[Symbol.asyncDispose]());

test('the latest confirmed event of a topic is returned', async () => {
  const lamp = await inspectedLamp();
  const path = '/v1/topics/lamp-internal/latest-event';
  expect(await request('GET', path)).toMatchObject({ status: 404, body: { slug: 'nothing-published' } });
  const messages = await fixture.database.sql<{ id: string; event_id: string }>(
    `select id, event_id from eventing.outbox where ordering_key = $1 order by position`,
    [lamp.id],
  );
  for (const [i, { id, event_id: eventId }] of messages.entries()) {
    await confirm(fixture.database, id);
    const expected = { eventId, aggregateId: lamp.id, sequence: i + 1 };
    expect(await request('GET', path)).toEqual({ status: 200, body: expected });
  }
  expect((await request('GET', '/v1/topics/a%20b/latest-event')).status).toBe(400);
});

test('published events are listed by position, without their values', async () => {
  const path = '/v1/topics/lamp-internal/published-events';
  const { body: beginning } = await request('GET', `${path}?ageMs=0`);
  expect(beginning).toEqual({ events: [], next: expect.stringMatching(/^\d+_0/) });
  const lamp = await inspectedLamp();
  const messages = await fixture.database.sql<{ id: string; event_id: string }>(
    'select id, event_id from eventing.outbox where ordering_key = $1 order by position',
    [lamp.id],
  );
  await confirm(fixture.database, ...messages.map(({ id }) => id));
  const after = (position: string, more = '') => request('GET', `${path}?ageMs=0&after=${position}${more}`);
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
  const { body: young } = await request('GET', `${path}?after=${beginning.next}`);
  expect(young.events).toEqual([]);
  for (const wrong of ['after=1', 'after=99999999999999999_0', 'before=x', 'ageMs=-1', 'limit=0', 'limit=1001'])
    expect(await request('GET', `${path}?${wrong}`)).toMatchObject({ status: 400 });
  expect((await request('GET', '/v1/topics/other-external/published-events')).status).toBe(400);
});

test('readers may read the external topic and no other', async () => {
  for (const question of ['latest-event', 'published-events']) {
    const refused = { status: 403, body: expect.objectContaining({ slug: 'forbidden' }) };
    expect(await request('GET', `/v1/topics/lamp-internal/${question}`, 'reader')).toEqual(refused);
    expect((await request('GET', `/v1/topics/lamp-external/${question}`, 'reader')).status).not.toBe(403);
  }
});

describe('Republishing a published event', () => {
  const path = (channel: string) => `/v1/topics/lamp-${channel}/republish`;
  const waiting = (eventId: string) =>
    fixture.database.sql('select channel, topic, target, envelope from eventing.outbox where event_id = $1', [eventId]);

  async function published(): Promise<string[]> {
    const lamp = await inspectedLamp();
    const messages = await fixture.database.sql<{ id: string; event_id: string }>(
      'select id, event_id from eventing.outbox where ordering_key = $1 order by position',
      [lamp.id],
    );
    await confirm(fixture.database, ...messages.map(({ id }) => id));
    await fixture.database.sql(
      `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
       select gen_random_uuid(), event_id, 'external', 'lamp-external', 'ALL', 0, now(), now()
         from eventing.published where event_id = any($1)`,
      [messages.map(({ event_id }) => event_id)],
    );
    return messages.map(({ event_id }) => event_id);
  }

  test('sends the external form to the requesting reader, once while it is in flight', async () => {
    const eventIds = await published();
    expect(await request('POST', path('external'), 'reader', { eventIds })).toEqual({
      status: 202,
      body: { events: 2 },
    });
    const [message] = await waiting(eventIds[0]!);
    expect(message).toMatchObject({ channel: 'external', topic: 'lamp-external', target: 'x' });
    expect((message as { envelope: { data: object } }).envelope.data).toEqual({
      lampId: expect.any(String),
      eventType: 'lamp.installed',
      attributeTypes: ['place'],
      occurredAt: expect.any(String),
    });
    const nothing = { status: 202, body: { events: 0 } };
    expect(await request('POST', path('external'), 'reader', { eventIds })).toEqual(nothing);
    await fixture.database.sql(
      `with sent as (delete from eventing.outbox where target = 'x' returning *)
       insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
       select id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, now() from sent`,
    );
    expect(await request('POST', path('external'), 'reader', { eventIds })).toEqual(nothing);
    await fixture.database.sql('delete from eventing.relayed');
    expect((await request('POST', path('external'), 'reader', { eventIds })).body).toEqual({ events: 2 });
  });

  test('is refused to readers for another target and for the internal topic', async () => {
    const eventIds = await published();
    const refused = { status: 403, body: expect.objectContaining({ slug: 'forbidden' }) };
    expect(await request('POST', path('external'), 'reader', { eventIds, target: 'y' })).toEqual(refused);
    expect(await request('POST', path('internal'), 'reader', { eventIds })).toEqual(refused);
    expect(await waiting(eventIds[0]!)).toEqual([]);
    expect((await request('POST', path('external'), 'reader', { eventIds, target: 'x' })).status).toBe(202);
  });

  test('sends it to the operator’s target or to all', async () => {
    const eventIds = await published();
    await request('POST', path('internal'), 'operator', { eventIds: eventIds.slice(0, 1), target: 'worker' });
    expect(await waiting(eventIds[0]!)).toMatchObject([{ channel: 'internal', target: 'worker' }]);
    await request('POST', path('internal'), 'operator', { eventIds: eventIds.slice(1) });
    expect(await waiting(eventIds[1]!)).toMatchObject([{ channel: 'internal', target: 'ALL' }]);
  });

  test('has no effect on a topic where it was not published before', async () => {
    const lamp = await inspectedLamp();
    const [event] = await fixture.storedEvents(lamp);
    const answer = await request('POST', path('external'), 'operator', { eventIds: [event!.id, uuid()] });
    expect(answer).toEqual({ status: 202, body: { events: 0 } });
  });
});
