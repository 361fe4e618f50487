import fc from 'fast-check';
import { array } from '#eventing/sql';
import type { Relay } from '../../../services/relay/relay.ts';
import { eventually } from '../../support/eventually.ts';
import { keys, RelayLab } from './lab.ts';
import type { SinkAnswer } from './sink.ts';

let lab: RelayLab;
beforeAll(async () => {
  lab = await RelayLab.open();
});
afterAll(() => lab[Symbol.asyncDispose]());

const RELAYS = 3;
const STEPS = 25;

test('whatever fails, and whichever relay is cut off or replaced, nothing is lost and no key’s first relays are out of order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.noShrink(fc.integer()), async (seed) => {
      const random = uniform(seed);
      await lab.clear();
      lab.sink.answer = () => trouble(random);
      const relays = Array.from({ length: RELAYS }, start);
      for (let step = 0; step < STEPS; step++) {
        await lab.fill(
          keys(40).filter(() => random() < 0.4),
          1 + Math.floor(random() * 5),
          topic(random),
        );
        await misfortune(random, relays);
      }
      lab.sink.answer = () => 'accept';
      await lab.relayedAll(60_000);
      lab.expectInOrder();
    }),
    { numRuns: 4 },
  );
}, 180_000);

/** Even numbers from 0 to below 1, which fast-check's own, fond of extremes, are not: mulberry32. */
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

/** Never parks: here even good messages are refused now and then. */
const start = (): Relay => lab.relay({ patience: { attempts: 100, firstRetrySeconds: 0.002 } });

function trouble(random: () => number): SinkAnswer {
  const dice = random();
  if (dice < 0.8) return 'accept';
  if (dice < 0.88) return { refuse: () => random() < 0.2 };
  if (dice < 0.91) return { refuse: () => true };
  if (dice < 0.94)
    return { status: 500, body: '{"errorCode":"ERR_PUBSUB_CLOUD_EVENTS_SER","message":"cannot create cloudevent"}' };
  if (dice < 0.97) return 'accept-and-reset';
  return 'reset';
}

async function misfortune(random: () => number, relays: Relay[]): Promise<void> {
  const dice = random();
  if (dice < 0.3) return await recordSome(random);
  if (dice < 0.45) return await cutOne();
  if (dice < 0.6) {
    const [gone] = relays.splice(Math.floor(random() * relays.length), 1);
    relays.push(start());
    return await lab.stop(gone!);
  }
  const seen = lab.sink.arrivals.length;
  await eventually(() => lab.sink.arrivals.length > seen, { timeoutMs: 200 }).catch(() => undefined);
}

/** As the recorder does: some have come back, perhaps before they were noted as relayed. */
async function recordSome(random: () => number): Promise<void> {
  const ids = lab.sink.arrivals.map(({ id }) => id).filter(() => random() < 0.5);
  for (const table of ['outbox', 'relayed']) {
    await lab.database.sql(
      `with back as (delete from eventing.${table}
         where id in (select id from eventing.${table} where id = any($1::uuid[]) order by id for update) returning *)
       insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
       select id, event_id, channel, topic, target, attempts, created_at, clock_timestamp() from back`,
      [array(ids)],
    );
  }
}

async function cutOne(): Promise<void> {
  await lab.database.sql(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'relay' and datname = current_database()
      order by random() limit 1`,
  );
}
