import { v7 as uuid } from 'uuid';
import { type LatestEvent, SubscriptionWatchdog, type WatchedTopic } from '#eventing/subscription-watchdog';
import { eventually } from '../../../support/eventually.ts';
import { type Fixture, openFixture } from '../fixture.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const STALL_MS = 200;
const log = { warn: () => undefined };

/** Watches `topic` as a process of app `appId`, with a fake sidecar watchdog that counts the reports. */
function watch(appId: string, topic: string, watched: WatchedTopic = {}) {
  const failing = new Set<string>();
  let restarts = 0;
  let reports = 0;
  const sidecar = {
    reportFailure: async (it: string) => {
      reports += 1;
      if (!failing.has(it)) failing.add(it);
      else restarts += 1;
      return restarts > 0;
    },
    isFailing: (it: string) => failing.has(it),
    reportSuccess: (it: string) => void failing.delete(it),
  };
  const watchdog = new SubscriptionWatchdog({
    orm: fixture.orm,
    appId,
    topics: { [topic]: watched },
    sidecar,
    stallMs: STALL_MS,
    log,
  });
  return {
    watchdog: watchdog.start(),
    restarts: () => restarts,
    reports: () => reports,
    [Symbol.asyncDispose]: () => watchdog[Symbol.asyncDispose](),
  };
}

const lastReceivedAt = async (appId: string, topic: string) => {
  const rows = await fixture.database.sql<{ at: Date }>(
    'select heard_at as at from eventing.heard where app_id = $1 and topic = $2',
    [appId, topic],
  );
  return rows[0]?.at.getTime();
};
const isRegistered = (appId: string, topic: string) =>
  eventually(async () => expect(await lastReceivedAt(appId, topic)).toBeDefined());

/** Stores a message that was sent `secondsAgo`. @param confirmed whether it has been confirmed since */
async function storeSent(topic: string, secondsAgo = 0, { confirmed = false } = {}): Promise<void> {
  const columns = 'id, event_id, channel, topic, target, attempts, created_at, relayed_at';
  const values = `$1, $1, 'internal', $2, 'ALL', 0, now(), clock_timestamp() - $3 * interval '1 second'`;
  await fixture.database.sql(
    confirmed
      ? `insert into eventing.published (${columns}) values (${values})`
      : `insert into eventing.relayed (${columns}, ordering_key, partition, envelope, resend_at) values (${values}, 'k', 0, '{}', now())`,
    [uuid(), topic, secondsAgo],
  );
}
/** Sets the app's last delivery on the topic to `secondsAgo`. */
const setLastReceived = (appId: string, topic: string, secondsAgo: number) =>
  fixture.database.sql(
    `insert into eventing.heard (app_id, topic, heard_at) values ($1, $2, clock_timestamp() - $3 * interval '1 second')
     on conflict (app_id, topic) do update set heard_at = excluded.heard_at`,
    [appId, topic, secondsAgo],
  );

test.each([
  ['an unconfirmed', false],
  ['a confirmed', true],
])('a subscription that misses %s message is stalled', async (_, confirmed) => {
  const topic = `missed-${confirmed}`;
  await setLastReceived('app', topic, 60);
  await storeSent(topic, 30, { confirmed });
  await using app = watch('app', topic);
  await eventually(async () => expect(app.restarts()).toBeGreaterThan(0));
});

test('a subscription without a message sent since its last delivery is not stalled', async () => {
  await setLastReceived('app', 'quiet', 60);
  await storeSent('quiet', 90);
  await storeSent('quiet', 90, { confirmed: true });
  // Received a moment before it was marked as sent.
  await storeSent('quiet', 59.5, { confirmed: true });
  await using app = watch('app', 'quiet');
  await allChecked('quiet-witness');
  expect(app.reports()).toBe(0);
});

test('a message sent within the limit does not make a subscription stalled', async () => {
  await setLastReceived('app', 'under-way', 60);
  await storeSent('under-way', -3600);
  await using app = watch('app', 'under-way');
  await allChecked('under-way-witness');
  expect(app.reports()).toBe(0);
});

test('a delivery to one replica counts for all replicas of its app and for no other app', async () => {
  await using one = watch('app', 'shared');
  await using two = watch('app', 'shared');
  await using other = watch('other', 'shared');
  for (const app of ['app', 'other']) {
    await isRegistered(app, 'shared');
    await setLastReceived(app, 'shared', 60);
  }
  one.watchdog.received('shared');
  await eventually(async () => expect(Date.now() - (await lastReceivedAt('app', 'shared'))!).toBeLessThan(30_000));
  await storeSent('shared', 30);
  await eventually(async () => expect(other.restarts()).toBeGreaterThan(0));
  expect([one.reports(), two.reports()]).toEqual([0, 0]);
});

test('a replica that missed a message is not cleared by another replica’s delivery', async () => {
  await setLastReceived('app', 'sticky', 60);
  await storeSent('sticky', 30);
  await using app = watch('app', 'sticky');
  await eventually(async () => expect(app.reports()).toBeGreaterThan(0));
  await setLastReceived('app', 'sticky', 0);
  await eventually(async () => expect(app.restarts()).toBeGreaterThan(0));
});

test('a stall is recorded with its start until the next delivery', async () => {
  const stalledSince = async () => {
    const [row] = await fixture.database.sql<{ since: Date | null }>(
      `select missed_since as since from eventing.heard where topic = 'recorded'`,
    );
    return row?.since;
  };
  await setLastReceived('app', 'recorded', 60);
  await using app = watch('app', 'recorded');
  await allChecked('recorded-witness');
  expect(await stalledSince()).toBeNull();
  await storeSent('recorded', 30);
  await eventually(async () => expect(await stalledSince()).toBeInstanceOf(Date));
  const since = await stalledSince();
  await eventually(async () => expect(app.restarts()).toBeGreaterThan(1));
  expect(await stalledSince()).toEqual(since);
  app.watchdog.received('recorded');
  await eventually(async () => expect(await stalledSince()).toBeNull());
});

test('the last delivery is recorded exactly, also when the process ends right after it', async () => {
  const app = watch('app', 'noted');
  await isRegistered('app', 'noted');
  await setLastReceived('app', 'noted', 60);
  app.watchdog.received('noted');
  await eventually(async () => expect(Date.now() - (await lastReceivedAt('app', 'noted'))!).toBeLessThan(30_000));
  const first = await lastReceivedAt('app', 'noted');
  app.watchdog.received('noted');
  const messageId = uuid();
  app.watchdog.received('noted', messageId);
  app.watchdog.received('noted');
  await app[Symbol.asyncDispose]();
  expect(await lastReceivedAt('app', 'noted')).toBeGreaterThan(first!);
  const noted = await fixture.database.sql(`select app_id, message_id from eventing.compared where topic = 'noted'`);
  expect(noted).toEqual([{ app_id: 'app', message_id: messageId }]);
});

describe('A topic of another system', () => {
  const event = (): LatestEvent => ({ source: '/other', aggregateId: uuid(), sequence: 7, eventId: uuid() });
  const consumers = [
    { name: 'ordered', order: 'ordered' },
    { name: 'convergent', order: 'convergent' },
  ] as const;
  const cursorAt = (it: LatestEvent, sequence: number) =>
    fixture.database.sql(
      `insert into eventing.cursor (consumer, stream, aggregate_id, last_sequence) values ('ordered', $1, $2, $3)`,
      [it.source, it.aggregateId, sequence],
    );

  test('is stalled when its latest event is unknown here', async () => {
    const latest = event();
    await cursorAt(latest, 6);
    await using app = watch('app', 'foreign', { consumers, publisher: { latest: async () => latest } });
    await eventually(async () => expect(app.restarts()).toBeGreaterThan(0));
  });

  test.each<[string, (latest: LatestEvent) => Promise<unknown>]>([
    ['is applied', (latest) => cursorAt(latest, 7)],
    [
      'is deferred',
      (latest) =>
        fixture.database.sql(
          `insert into eventing.kept_delivery (consumer, event_id, state) values ('ordered', $1, 'dead')`,
          [latest.eventId],
        ),
    ],
  ])('is not stalled when its latest event %s', async (status, setUp) => {
    const latest = event();
    await setUp(latest);
    await using app = watch('app', `foreign, ${status}`, { consumers, publisher: { latest: async () => latest } });
    await allChecked(`foreign ${status} witness`);
    expect(app.reports()).toBe(0);
  });

  test('is not stalled when nothing was ever published', async () => {
    await using app = watch('app', 'empty', { consumers, publisher: { latest: async () => undefined } });
    await allChecked('empty-witness');
    expect(app.reports()).toBe(0);
  });

  test('is not reported when its system is unreachable', async () => {
    const latest = () => Promise.reject(new Error('no answer'));
    await using app = watch('app', 'unreachable', { consumers, publisher: { latest } });
    await allChecked('unreachable-witness');
    expect(app.reports()).toBe(0);
  });
});

/** Waits until a stalled witness has been reported more than three times, so that every topic was checked. */
async function allChecked(topic: string): Promise<void> {
  await setLastReceived('witness', topic, 60);
  await storeSent(topic, 30);
  await using witness = watch('witness', topic);
  await eventually(async () => expect(witness.reports()).toBeGreaterThan(3));
}
