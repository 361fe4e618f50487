import { findDiscrepancies } from '#eventing/discrepancies';
import { type Fixture, openFixture } from '../fixture.ts';

let fixture: Fixture;
beforeEach(async () => {
  fixture = await openFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const unpublished = async (ageMs = 0) =>
  (await findDiscrepancies(fixture.orm.em.fork(), 'broadcaster', { hours: 1, ageMs })).unpublished.map(
    ({ eventId }) => eventId,
  );
const external = `'external', 'lamp-external'`;

test('a stored event without an external message is found once it is old enough', async () => {
  const [event] = await fixture.storedEvents(await fixture.install());
  expect(await unpublished()).toEqual([event!.id]);
  expect(await unpublished(60_000)).toEqual([]);
});

test.each([
  [
    'is in the outbox',
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope) values (gen_random_uuid(), $1, ${external}, 'k', '{}')`,
  ],
  [
    'is sent',
    `insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
     values (gen_random_uuid(), $1, ${external}, 'k', 0, 'ALL', '{}', 0, now(), now())`,
  ],
  [
    'is published',
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
     values (gen_random_uuid(), $1, ${external}, 'ALL', 0, now(), now())`,
  ],
  ['is deferred', `insert into eventing.kept_delivery (consumer, event_id, state) values ('broadcaster', $1, 'dead')`],
])('a stored event whose external message %s is not a discrepancy', async (_, sql) => {
  const [event] = await fixture.storedEvents(await fixture.install());
  await fixture.database.sql(sql, [event!.id]);
  expect(await unpublished()).toEqual([]);
});

test.each([
  ['another consumer deferred', 'recorder', 'dead'],
  ['an operator discarded for the broadcaster', 'broadcaster', 'discarded'],
])('an unpublished event that %s is found', async (_, consumer, state) => {
  const [event] = await fixture.storedEvents(await fixture.install());
  await fixture.database.sql('insert into eventing.kept_delivery (consumer, event_id, state) values ($1, $2, $3)', [
    consumer,
    event!.id,
    state,
  ]);
  expect(await unpublished()).toEqual([event!.id]);
});

test('a full page has a cursor to the next page, and all pages compare every event', async () => {
  await fixture.database.sql(
    `insert into eventing.event_store (id, aggregate_type, aggregate_id, sequence, event_type, attributes, event_channel, requested_by, traceparent)
     select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - 1000), 12, '0') || '7' || lpad(to_hex(n), 19, '0'))::uuid,
       'lamp', gen_random_uuid(), 1, 'lamp.inspected', '{}', 'lamp', 'test', '' from generate_series(1, 20050) n`,
  );
  const first = await findDiscrepancies(fixture.orm.em.fork(), 'broadcaster', { hours: 1, ageMs: 0 });
  expect(first.unpublished).toHaveLength(100);
  const second = await findDiscrepancies(fixture.orm.em.fork(), 'broadcaster', {
    hours: 1,
    ageMs: 0,
    after: first.next!,
  });
  expect(second).toMatchObject({ next: null });
  expect(second.unpublished).toHaveLength(50);
});
