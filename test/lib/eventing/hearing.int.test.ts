import { v7 as uuid } from 'uuid';
import { type HeardTopic, Hearing, type LatestEvent } from '#eventing/hearing';
import { eventually } from '../../support/eventually.ts';
import { type Lab, openLab } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab[Symbol.asyncDispose]());

const SILENCE_MS = 200;
const log = { warn: () => undefined };

/** Hears `topic` as a process of app `appId`, whose sidecar notes what is said of it. */
function listen(appId: string, topic: string, heard: HeardTopic = {}) {
  const suspected = new Set<string>();
  let restarts = 0;
  let looks = 0;
  const sidecar = {
    suspect: async (it: string) => {
      looks += 1;
      if (!suspected.has(it)) suspected.add(it);
      else restarts += 1;
      return restarts > 0;
    },
    suspects: (it: string) => suspected.has(it),
    trust: (it: string) => void suspected.delete(it),
  };
  const hearing = new Hearing({ orm: lab.orm, appId, topics: { [topic]: heard }, sidecar, silenceMs: SILENCE_MS, log });
  return {
    hearing: hearing.start(),
    restarts: () => restarts,
    looks: () => looks,
    [Symbol.asyncDispose]: () => hearing[Symbol.asyncDispose](),
  };
}

const heardAt = async (appId: string, topic: string) => {
  const rows = await lab.database.sql<{ at: Date }>(
    'select heard_at as at from eventing.heard where app_id = $1 and topic = $2',
    [appId, topic],
  );
  return rows[0]?.at.getTime();
};
const isKnown = (appId: string, topic: string) =>
  eventually(async () => expect(await heardAt(appId, topic)).toBeDefined());

/** A message that was sent so long ago, seconds; `back` when it has come back since. */
async function sent(topic: string, secondsAgo = 0, { back = false } = {}): Promise<void> {
  const columns = 'id, event_id, channel, topic, target, attempts, created_at, relayed_at';
  const values = `$1, $1, 'internal', $2, 'ALL', 0, now(), clock_timestamp() - $3 * interval '1 second'`;
  await lab.database.sql(
    back
      ? `insert into eventing.published (${columns}) values (${values})`
      : `insert into eventing.relayed (${columns}, ordering_key, partition, envelope, resend_at) values (${values}, 'k', 0, '{}', now())`,
    [uuid(), topic, secondsAgo],
  );
}
/** Makes the app have heard the topic last so many seconds ago. */
const lastHeard = (appId: string, topic: string, secondsAgo: number) =>
  lab.database.sql(
    `insert into eventing.heard (app_id, topic, heard_at) values ($1, $2, clock_timestamp() - $3 * interval '1 second')
     on conflict (app_id, topic) do update set heard_at = excluded.heard_at`,
    [appId, topic, secondsAgo],
  );

test.each([
  ['has not come back', false],
  ['others have heard', true],
])('a subscription that misses a message which %s is dead', async (_, back) => {
  const topic = `missed-${back}`;
  await lastHeard('app', topic, 60);
  await sent(topic, 30, { back });
  await using app = listen('app', topic);
  await eventually(async () => expect(app.restarts()).toBeGreaterThan(0));
});

test('a subscription to which nothing was sent since is alive, however long it is silent', async () => {
  await lastHeard('app', 'quiet', 60);
  await sent('quiet', 90);
  await sent('quiet', 90, { back: true });
  // It was heard a moment before it was noted as sent.
  await sent('quiet', 59.5, { back: true });
  await using app = listen('app', 'quiet');
  await looked('quiet-witness');
  expect(app.looks()).toBe(0);
});

test('a message that is still under way proves nothing', async () => {
  await lastHeard('app', 'under-way', 60);
  await sent('under-way', -3600);
  await using app = listen('app', 'under-way');
  await looked('under-way-witness');
  expect(app.looks()).toBe(0);
});

test('what one replica hears is a proof for all of an app, and for no other app', async () => {
  await using one = listen('app', 'shared');
  await using two = listen('app', 'shared');
  await using other = listen('other', 'shared');
  for (const app of ['app', 'other']) {
    await isKnown(app, 'shared');
    await lastHeard(app, 'shared', 60);
  }
  one.hearing.heard('shared');
  await eventually(async () => expect(Date.now() - (await heardAt('app', 'shared'))!).toBeLessThan(30_000));
  await sent('shared', 30);
  await eventually(async () => expect(other.restarts()).toBeGreaterThan(0));
  expect([one.looks(), two.looks()]).toEqual([0, 0]);
});

test('a replica that missed a message is not cleared by another one hearing again', async () => {
  await lastHeard('app', 'sticky', 60);
  await sent('sticky', 30);
  await using app = listen('app', 'sticky');
  await eventually(async () => expect(app.looks()).toBeGreaterThan(0));
  await lastHeard('app', 'sticky', 0);
  await eventually(async () => expect(app.restarts()).toBeGreaterThan(0));
});

test('that something is missed is told from then on, until something is heard again', async () => {
  const missedSince = async () => {
    const [row] = await lab.database.sql<{ since: Date | null }>(
      `select missed_since as since from eventing.heard where topic = 'told'`,
    );
    return row?.since;
  };
  await lastHeard('app', 'told', 60);
  await using app = listen('app', 'told');
  await looked('told-witness');
  expect(await missedSince()).toBeNull();
  await sent('told', 30);
  await eventually(async () => expect(await missedSince()).toBeInstanceOf(Date));
  const since = await missedSince();
  await eventually(async () => expect(app.restarts()).toBeGreaterThan(1));
  expect(await missedSince()).toEqual(since);
  app.hearing.heard('told');
  await eventually(async () => expect(await missedSince()).toBeNull());
});

test('what was heard is noted to the moment, also when the process ends right after', async () => {
  const app = listen('app', 'noted');
  await isKnown('app', 'noted');
  await lastHeard('app', 'noted', 60);
  app.hearing.heard('noted');
  await eventually(async () => expect(Date.now() - (await heardAt('app', 'noted'))!).toBeLessThan(30_000));
  const first = await heardAt('app', 'noted');
  app.hearing.heard('noted');
  const messageId = uuid();
  app.hearing.heard('noted', messageId);
  app.hearing.heard('noted');
  await app[Symbol.asyncDispose]();
  expect(await heardAt('app', 'noted')).toBeGreaterThan(first!);
  const noted = await lab.database.sql(`select app_id, message_id from eventing.compared where topic = 'noted'`);
  expect(noted).toEqual([{ app_id: 'app', message_id: messageId }]);
});

describe('a topic of another system', () => {
  const event = (): LatestEvent => ({ source: '/other', aggregateId: uuid(), sequence: 7, eventId: uuid() });
  const consumers = [
    { name: 'ordered', order: 'ordered' },
    { name: 'convergent', order: 'convergent' },
  ] as const;
  const cursorAt = (it: LatestEvent, sequence: number) =>
    lab.database.sql(
      `insert into eventing.cursor (consumer, stream, aggregate_id, last_sequence) values ('ordered', $1, $2, $3)`,
      [it.source, it.aggregateId, sequence],
    );

  test('of which the last event is not known here is dead', async () => {
    const latest = event();
    await cursorAt(latest, 6);
    await using app = listen('app', 'foreign', { consumers, publisher: { latest: async () => latest } });
    await eventually(async () => expect(app.restarts()).toBeGreaterThan(0));
  });

  test.each<[string, (latest: LatestEvent) => Promise<unknown>]>([
    ['is applied', (latest) => cursorAt(latest, 7)],
    [
      'is kept',
      (latest) =>
        lab.database.sql(
          `insert into eventing.kept_delivery (consumer, event_id, state) values ('ordered', $1, 'dead')`,
          [latest.eventId],
        ),
    ],
  ])('of which the last event %s is alive', async (how, known) => {
    const latest = event();
    await known(latest);
    await using app = listen('app', `foreign, ${how}`, { consumers, publisher: { latest: async () => latest } });
    await looked(`foreign ${how} witness`);
    expect(app.looks()).toBe(0);
  });

  test('on which nothing was ever said is alive', async () => {
    await using app = listen('app', 'mute', { consumers, publisher: { latest: async () => undefined } });
    await looked('mute-witness');
    expect(app.looks()).toBe(0);
  });

  test('of a system that cannot be asked is left alone', async () => {
    const latest = () => Promise.reject(new Error('no answer'));
    await using app = listen('app', 'unreachable', { consumers, publisher: { latest } });
    await looked('unreachable-witness');
    expect(app.looks()).toBe(0);
  });
});

/** Waits until somebody who is deaf has been found out twice: then everybody has been looked at. */
async function looked(topic: string): Promise<void> {
  await lastHeard('witness', topic, 60);
  await sent(topic, 30);
  await using witness = listen('witness', topic);
  await eventually(async () => expect(witness.looks()).toBeGreaterThan(3));
}
