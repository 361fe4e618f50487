import { v7 as uuid } from 'uuid';
import type { Consumer } from '#eventing/consumer';
import { broadcaster } from '#eventing/external-broadcaster';
import { Inbox } from '#eventing/inbox';
import { eventually } from '../../support/eventually.ts';
import { eventOf, lamps } from '../eventing/fixture.ts';
import { silentLog } from '../eventing/recovery/reconciliation.ts';
import { failing, type LampApi, startLampApi } from './api.ts';

let api: LampApi;
let request: LampApi['request'];
beforeAll(async () => {
  api = await startLampApi();
  ({ request } = api);
});
afterEach(() => api.fixture.database.sql('truncate eventing.kept_delivery, eventing.cursor, eventing.operator_action'));
afterAll(() => api[Symbol.asyncDispose]());

const sql = <Row>(text: string, values: unknown[] = []) => api.fixture.database.sql<Row>(text, values);
const post = (path: string, body?: object) => request('POST', path, 'operator', body);
const actions = () =>
  sql<object>('select action, requested_by, subject, reason from eventing.operator_action order by at');
const statesOf = async (consumer: string) =>
  (
    await sql<{ state: string }>('select state from eventing.kept_delivery where consumer = $1 order by sequence', [
      consumer,
    ])
  ).map(({ state }) => state);

/** Stores dead letters, one per sequence from 1. @returns their aggregate */
async function deadLetters(consumer: string, count: number, change: { error?: string; source?: string } = {}) {
  const aggregateId = uuid();
  const { error = 'Error: no', source = '/elsewhere' } = change;
  const events = Array.from({ length: count }, (_, index) => eventOf(aggregateId, index + 1, { source }));
  await sql(
    `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, envelope, state, attempts, last_error)
     select $1, (e ->> 'eventId')::uuid, e ->> 'source', e ->> 'aggregateId', (e ->> 'sequence')::bigint, e ->> 'type', e, 'dead', 8, $3
       from json_array_elements($2::json) e`,
    [consumer, JSON.stringify(events), error],
  );
  return aggregateId;
}

describe('Dead letters that match a filter', () => {
  const filter = { consumer: 'failing', error: 'Error: no' };
  const body = { filter, expected: 3, reason: 'fixed in 1.2.4' };

  test('are listed, and redriven together', async () => {
    await deadLetters('failing', 3);
    await deadLetters('failing', 1, { error: 'TypeError: x' });
    await deadLetters('other', 1);
    const { body: listed } = await request('GET', '/v1/dead-letters?consumer=failing&error=Error:%20no');
    expect(listed.deliveries).toHaveLength(3);
    expect(await post('/v1/dead-letters/redrive', body)).toEqual({ status: 200, body: { deliveries: 3 } });
    expect((await statesOf('failing')).toSorted()).toEqual(['dead', 'failing', 'failing', 'failing']);
    expect(await statesOf('other')).toEqual(['dead']);
    expect(await actions()).toEqual([
      { action: 'redrive', requested_by: 'operator', subject: { filter, deliveries: 3 }, reason: 'fixed in 1.2.4' },
    ]);
  });

  test('are discarded together, and the cursor moves past them', async () => {
    await deadLetters('failing', 3);
    expect(await post('/v1/dead-letters/discard', body)).toEqual({ status: 200, body: { deliveries: 3 } });
    expect(await statesOf('failing')).toEqual(['discarded', 'discarded', 'discarded']);
    expect(await sql('select last_sequence from eventing.cursor')).toEqual([{ last_sequence: '3' }]);
    expect(await actions()).toMatchObject([{ action: 'discard', reason: 'fixed in 1.2.4' }]);
  });

  test.each(['redrive', 'discard'])('stay as they are when another number matches: %s', async (action) => {
    await deadLetters('failing', 2);
    const answer = await post(`/v1/dead-letters/${action}`, body);
    expect(answer).toMatchObject({ status: 409, body: { slug: 'count-differs' } });
    expect(answer.body.detail).toContain('3 expected, but 2 match');
    expect(await statesOf('failing')).toEqual(['dead', 'dead']);
    expect(await actions()).toEqual([]);
  });

  test.each([
    ['no reason', { filter, expected: 1 }],
    ['an unknown condition', { filter: { name: 'x' }, expected: 1, reason: 'because' }],
    ['more than a thousand', { filter, expected: 1_001, reason: 'because' }],
    ['no year', { filter: { from: '0000-01-01T00:00:00Z' }, expected: 1, reason: 'because' }],
  ])('are not changed by a request with %s', async (_, wrong) => {
    expect(await post('/v1/dead-letters/redrive', wrong)).toMatchObject({ status: 400 });
  });
});

describe('An event of the broadcaster', () => {
  test('is not discarded, alone or with others: its subscribers would wait for it', async () => {
    const { id } = await api.inspectedLamp();
    const [stored] = await sql<{ id: string }>('select id from eventing.event_store where aggregate_id = $1', [id]);
    await sql(
      `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, state)
       select 'broadcaster', id, '/lamp', aggregate_id, sequence, event_type, 'dead' from eventing.event_store where id = $1`,
      [stored!.id],
    );
    await deadLetters('another', 1);
    const refused = { status: 409, body: { slug: 'leaves-gap' } };
    expect(await post(`/v1/dead-letters/broadcaster/${stored!.id}/discard`)).toMatchObject(refused);
    const all = { filter: {}, expected: 2, reason: 'because' };
    expect(await post('/v1/dead-letters/discard', all)).toMatchObject(refused);
    expect(await sql("select state from eventing.kept_delivery where state <> 'dead'")).toEqual([]);
    const skip = { consumer: 'broadcaster', source: '/lamp', aggregateId: id, toSequence: 2, reason: 'because' };
    expect(await post('/v1/gaps/skip', skip)).toMatchObject(refused);
    expect(await actions()).toEqual([]);
  });

  test('is discarded if it was never stored, and the real one is broadcast', async () => {
    const { id } = await api.inspectedLamp();
    const forged = eventOf(id, 1, { source: '/lamp' });
    await sql(
      `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, state)
       values ('broadcaster', $1, '/lamp', $2, 1, 'lamp.installed', 'dead')`,
      [forged.eventId, id],
    );
    expect(await post(`/v1/dead-letters/broadcaster/${forged.eventId}/discard`)).toMatchObject({ status: 204 });
    expect(await sql('select from eventing.cursor')).toEqual([]);
    const [stored] = await sql<{ id: string; event_type: string }>(
      'select id, event_type from eventing.event_store where aggregate_id = $1 order by sequence limit 1',
      [id],
    );
    const event = eventOf(id, 1, { source: '/lamp', eventId: stored!.id, type: stored!.event_type });
    await using inbox = new Inbox(api.fixture.orm, { ownSource: '/lamp', log: silentLog });
    await inbox.deliver(broadcaster(lamps, 'broadcaster'), event);
    expect(await sql('select last_sequence from eventing.cursor')).toEqual([{ last_sequence: '1' }]);
  });
});

describe('A gap in the stream of an ordered consumer', () => {
  const applied: number[] = [];
  const ordered: Consumer = {
    ...failing,
    name: 'ordered',
    handle: async (_, { sequence }) => void applied.push(sequence),
  };

  test('is listed once it is old enough, and skipped for good', async () => {
    await using inbox = new Inbox(api.fixture.orm, { ownSource: '/other', log: silentLog });
    inbox.start([ordered]);
    const aggregateId = uuid();
    const of = (sequence: number) => eventOf(aggregateId, sequence, { source: '/elsewhere' });
    for (const sequence of [1, 4, 5]) await inbox.deliver(ordered, of(sequence));
    expect((await request('GET', '/v1/gaps')).body.gaps).toEqual([]);
    const subject = { consumer: 'ordered', source: '/elsewhere', aggregateId };
    const gap = { ...subject, from: 2, to: 3, next: 4, since: expect.any(String) };
    expect((await request('GET', '/v1/gaps?ageSeconds=0')).body.gaps).toEqual([gap]);
    const skip = { ...subject, toSequence: 4, reason: 'lost before the backup' };
    // Nothing has arrived with these sequences, or the consumer is not waiting there.
    for (const toSequence of [3, 6])
      expect(await post('/v1/gaps/skip', { ...skip, toSequence })).toMatchObject({ status: 404 });
    expect(await post('/v1/gaps/skip', skip)).toMatchObject({ status: 204 });
    inbox.wake();
    await eventually(() => expect(applied).toEqual([1, 4, 5]));
    await eventually(async () => expect(await statesOf('ordered')).toEqual([]));
    expect((await request('GET', '/v1/gaps?ageSeconds=0')).body.gaps).toEqual([]);
    expect(await post('/v1/gaps/skip', skip)).toMatchObject({ status: 404 });
    expect(await actions()).toEqual([
      { action: 'skip', requested_by: 'operator', subject: { ...subject, toSequence: 4 }, reason: skip.reason },
    ]);
    // What was skipped has no effect when it arrives after all.
    await inbox.deliver(ordered, of(2));
    expect([applied, await statesOf('ordered')]).toEqual([[1, 4, 5], []]);
  });

  test('ends before the first event that has arrived, which is never skipped', async () => {
    await using inbox = new Inbox(api.fixture.orm, { ownSource: '/other', log: silentLog });
    const aggregateId = uuid();
    const of = (sequence: number) => eventOf(aggregateId, sequence, { source: '/elsewhere' });
    const down: Consumer = {
      ...ordered,
      name: 'down',
      handle: async () => {
        throw Object.assign(new Error('no answer'), { outage: true });
      },
    };
    await inbox.deliver({ ...down, handle: async () => undefined }, of(1));
    for (const sequence of [6, 4]) await inbox.deliver(down, of(sequence));
    // Received later than the age that is asked for.
    await sql(`update eventing.kept_delivery set received_at = now() - interval '1 hour' where sequence = 6`);
    const subject = { consumer: 'down', source: '/elsewhere', aggregateId };
    const { body } = await request('GET', '/v1/gaps');
    expect(body.gaps).toMatchObject([{ ...subject, from: 2, to: 3, next: 4 }]);
    const skip = { ...subject, reason: 'lost' };
    expect(await post('/v1/gaps/skip', { ...skip, toSequence: 6 })).toMatchObject({ status: 404 });
    // What was missing arrives, and waits for the dependency.
    await inbox.deliver(down, of(2));
    expect((await request('GET', '/v1/gaps')).body.gaps).toEqual([]);
    expect(await post('/v1/gaps/skip', { ...skip, toSequence: 4 })).toMatchObject({ status: 404 });
    expect(await statesOf('down')).toEqual(['failing', 'early', 'early']);
  });

  test('is none while the missing event is retried or is a dead letter', async () => {
    await using inbox = new Inbox(api.fixture.orm, { ownSource: '/other', maxAttempts: 1, log: silentLog });
    const aggregateId = uuid();
    for (const sequence of [2, 1])
      await inbox.deliver(failing, eventOf(aggregateId, sequence, { source: '/elsewhere' }));
    expect(await statesOf('failing')).toEqual(['dead', 'early']);
    expect((await request('GET', '/v1/gaps?ageSeconds=0')).body.gaps).toEqual([]);
  });
});

test('parked messages that match a filter are released together', async () => {
  await sql('delete from eventing.outbox');
  const { id } = await api.inspectedLamp();
  await api.inspectedLamp();
  await sql(
    `update eventing.outbox set parked_at = now(), attempts = 5, last_error = case when ordering_key = $1 then 'too large' else 'no' end`,
    [id],
  );
  const filter = { topic: 'lamp-internal', error: 'too' };
  const listed = await request('GET', '/v1/parked-messages?topic=lamp-internal&error=too');
  expect(listed.body.messages).toHaveLength(2);
  const body = { filter, expected: 2, reason: 'the limit is higher now' };
  expect(await post('/v1/parked-messages/release', { ...body, expected: 3 })).toMatchObject({ status: 409 });
  expect(await post('/v1/parked-messages/release', body)).toEqual({ status: 200, body: { messages: 2 } });
  const waiting = await sql<object>(
    'select ordering_key as key, attempts from eventing.outbox where parked_at is null and next_attempt_at <= now()',
  );
  expect(waiting).toEqual([
    { key: id, attempts: 0 },
    { key: id, attempts: 0 },
  ]);
  expect(await actions()).toEqual([
    {
      action: 'release',
      requested_by: 'operator',
      subject: { filter, messages: 2 },
      reason: 'the limit is higher now',
    },
  ]);
});

test('each action on a single event or message is recorded', async () => {
  const aggregateId = await deadLetters('failing', 1);
  const [dead] = await sql<{ event_id: string }>(
    'select event_id from eventing.kept_delivery where aggregate_id = $1',
    [aggregateId],
  );
  const path = `/v1/dead-letters/failing/${dead!.event_id}`;
  expect(await post(`${path}/redrive`)).toMatchObject({ status: 204 });
  await sql(`update eventing.kept_delivery set state = 'dead'`);
  expect(await post(`${path}/discard`)).toMatchObject({ status: 204 });
  expect(await post(`${path}/discard`)).toMatchObject({ status: 404 });
  const subject = { consumer: 'failing', eventId: dead!.event_id };
  expect(await actions()).toMatchObject([
    { action: 'redrive', subject, reason: null },
    { action: 'discard', subject, reason: null },
  ]);
});
