import { jest } from '@jest/globals';
import fc from 'fast-check';
import { Client, type QueryConfig } from 'pg';
import { array } from '#eventing/sql';
import { PARTITIONS } from '../../../services/relay/balance.ts';
import { PARTITION } from '../../../services/relay/lease-queries.ts';
import type { Relay } from '../../../services/relay/relay.ts';
import { eventually } from '../../support/eventually.ts';
import type { FakeAnswer } from './fake-daprd.ts';
import { keys, RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await RelayFixture.open();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const RELAYS = 3;
const STEPS = 25;

test(
  'random failures and relay restarts lose no message and keep first sends of a key in order',
  () => runChaos(),
  180_000,
);

test('relays that each hold all partitions lose no message and keep first sends in order', async () => {
  await forceOwnership();
  await runChaos();
  const held = fixture.log.filter(({ msg }) => msg === 'leases rebalanced');
  expect(held.length).toBeGreaterThanOrEqual(RELAYS);
  expect(held.map(({ partitions, relays }) => [partitions, relays])).toEqual(held.map(() => [PARTITIONS, 1]));
}, 180_000);

async function runChaos(): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.noShrink(fc.integer()), async (seed) => {
      const random = uniform(seed);
      await fixture.reset();
      fixture.fakeDaprd.answer = () => randomAnswer(random);
      const relays = Array.from({ length: RELAYS }, startRelay);
      for (let step = 0; step < STEPS; step++) {
        await fixture.fill(
          keys(40).filter(() => random() < 0.4),
          1 + Math.floor(random() * 5),
          topic(random),
        );
        await injectFault(random, relays);
      }
      fixture.fakeDaprd.answer = () => 'accept';
      await fixture.waitUntilSent(60_000);
      fixture.expectInOrder();
    }),
    { numRuns: 4 },
  );
}

/**
 * Shows each relay a `pg_locks` in which it is the only relay and holds all partitions. It stands for whatever lets two relays act at once,
 * such as a relay that is frozen between reading and sending.
 */
async function forceOwnership(): Promise<void> {
  await fixture.database.sql(`
    create schema forced;
    create view forced.pg_locks as
      select locktype, database, classid::int, objid::int, objsubid, pid, granted from pg_catalog.pg_locks
       where classid <> ${PARTITION} and pid = pg_backend_pid()
      union all
      select 'advisory', (select oid from pg_database where datname = current_database()), ${PARTITION}, partition, 2, pg_backend_pid(), true
        from generate_series(0, ${PARTITIONS - 1}) partition;
    grant usage on schema forced to public;
    grant select on forced.pg_locks to public`);
  // The types of the overloads that relays use.
  const query = Client.prototype.query as (
    this: Client,
    statement: string | QueryConfig,
    values?: unknown[],
  ) => Promise<unknown>;
  const force = (text: string) => text.replaceAll(' pg_locks', ' forced.pg_locks');
  const forced = function (this: Client, statement: string | QueryConfig, values?: unknown[]) {
    const isText = typeof statement === 'string';
    return query.call(this, isText ? force(statement) : { ...statement, text: force(statement.text) }, values);
  };
  jest.spyOn(Client.prototype, 'query').mockImplementation(forced as never);
}

/** Uniform random numbers in [0, 1) (mulberry32). fast-check's own are biased towards extremes. */
function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const topic = (random: () => number) => (random() < 0.7 ? 'lamp-internal' : 'lamp-external');

/** Starts a relay that never parks: here even good messages are refused at times. */
const startRelay = (): Relay => fixture.relay({ retryPolicy: { attempts: 100, firstRetrySeconds: 0.002 } });

function randomAnswer(random: () => number): FakeAnswer {
  const dice = random();
  if (dice < 0.8) return 'accept';
  if (dice < 0.88) return { refuse: () => random() < 0.2 };
  if (dice < 0.91) return { refuse: () => true };
  if (dice < 0.94)
    return { status: 500, body: '{"errorCode":"ERR_PUBSUB_CLOUD_EVENTS_SER","message":"cannot create cloudevent"}' };
  if (dice < 0.97) return 'accept-and-reset';
  return 'reset';
}

async function injectFault(random: () => number, relays: Relay[]): Promise<void> {
  const dice = random();
  if (dice < 0.3) return await confirmSome(random);
  if (dice < 0.45) return await cutConnection();
  if (dice < 0.6) {
    const [stopped] = relays.splice(Math.floor(random() * relays.length), 1);
    relays.push(startRelay());
    return await fixture.stop(stopped!);
  }
  const seen = fixture.fakeDaprd.arrivals.length;
  await eventually(() => fixture.fakeDaprd.arrivals.length > seen, { timeoutMs: 200 }).catch(() => undefined);
}

/** Confirms some messages, as the recorder does, perhaps before they were marked as sent. */
async function confirmSome(random: () => number): Promise<void> {
  const ids = fixture.fakeDaprd.arrivals.map(({ id }) => id).filter(() => random() < 0.5);
  for (const table of ['outbox', 'relayed']) {
    await fixture.database.sql(
      `with back as (delete from eventing.${table}
         where id in (select id from eventing.${table} where id = any($1::uuid[]) order by id for update) returning *)
       insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
       select id, event_id, channel, topic, target, attempts, created_at, clock_timestamp() from back`,
      [array(ids)],
    );
  }
}

async function cutConnection(): Promise<void> {
  await fixture.database.sql(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'relay' and datname = current_database()
      order by random() limit 1`,
  );
}
