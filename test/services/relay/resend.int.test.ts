import { eventually } from '../../support/eventually.ts';
import { keys, RelayLab } from './lab.ts';

let lab: RelayLab;
beforeAll(async () => {
  lab = await RelayLab.open();
});
afterEach(() => lab.clear());
afterAll(() => lab[Symbol.asyncDispose]());

/** As the recorder marks what came back. */
async function cameBack(ids: readonly string[]): Promise<void> {
  await lab.database.sql(
    `with back as (delete from eventing.relayed where id = any($1) returning *)
     insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
     select id, event_id, channel, topic, target, attempts, created_at, relayed_at from back`,
    [ids],
  );
}

/** Relays messages and lets so many seconds pass. */
async function relayed(ids: readonly string[], secondsAgo: number): Promise<void> {
  await lab.relayedAll();
  await lab.database.sql(
    `update eventing.relayed set relayed_at = relayed_at - make_interval(secs => $2), resend_at = resend_at - make_interval(secs => $2)
      where id = any($1)`,
    [ids, secondsAgo],
  );
}
const sends = (id: string) => lab.sink.arrivals.filter((it) => it.id === id).length;

test('what has not come back in time is sent again with the same id, until it has', async () => {
  const [lost, fine] = await lab.fill(['lost', 'fine']);
  lab.relay();
  await lab.relayedAll();
  await cameBack([fine!]);
  await relayed([lost!], 301);
  await eventually(() => expect(sends(lost!)).toBe(2));
  const inTenMinutes = "sends = 2 and resend_at between now() + interval '9 min' and now() + interval '10 min'";
  await eventually(async () => expect(await lab.count('relayed', inTenMinutes)).toBe(1));
  await relayed([lost!], 601);
  await eventually(() => expect(sends(lost!)).toBe(3));
  await eventually(async () => expect(await lab.count('relayed', "resend_at > now() + interval '19 min'")).toBe(1));
  await cameBack([lost!]);
  const [later] = await lab.fill(['later']);
  await relayed([later!], 301);
  await eventually(() => expect(sends(later!)).toBe(2));
  expect([sends(lost!), sends(fine!)]).toEqual([3, 1]);
});

test('the interval grows to an hour at most', async () => {
  const [lost, fine] = await lab.fill(['lost', 'fine']);
  lab.relay();
  await relayed([lost!], 301);
  await cameBack([fine!]);
  await lab.database.sql('update eventing.relayed set sends = 400');
  await eventually(() => expect(sends(lost!)).toBe(2));
  await eventually(async () =>
    expect(
      await lab.count('relayed', "resend_at between now() + interval '59 min' and now() + interval '1 hour'"),
    ).toBe(1),
  );
});

test('while nothing at all comes back, one of each partition has to do; once something does, all go', async () => {
  const ids = await lab.fill(keys(100), 3);
  const [{ partitions } = { partitions: 0 }] = await lab.database.sql<{ partitions: number }>(
    'select count(distinct partition)::int as partitions from eventing.outbox',
  );
  lab.relay();
  await relayed(ids, 301);
  await eventually(async () => expect(await lab.count('relayed', 'sends = 2')).toBe(partitions));
  // The next look finds the other messages due and nothing come back: it lets them be.
  await lab.fill(['tick']);
  await lab.relayedAll();
  expect(await lab.count('relayed', 'sends = 2')).toBe(partitions);
  expect(lab.complaints()).toEqual(['nothing has come back: is the recorder, or its sidecar, down?']);
  await cameBack([ids[0]!]);
  await eventually(async () => expect(await lab.count('relayed', 'sends = 2')).toBe(299), { timeoutMs: 15_000 });
}, 25_000);

test('no more than fifty at a time are sent again, with a pause between', async () => {
  const ids = await lab.fill(keys(40), 3);
  const began = performance.now();
  lab.relay();
  await relayed(ids.slice(1), 301);
  await cameBack([ids[0]!]);
  lab.sink.calls.length = 0;
  await eventually(async () => expect(await lab.count('relayed', 'sends = 2')).toBe(119), { timeoutMs: 15_000 });
  const again = lab.sink.calls.filter(({ entries }) => entries.length > 0);
  for (const [i, { at, entries }] of again.entries()) {
    expect(entries.length).toBeLessThanOrEqual(50);
    // Counted from the beginning: one that was held up on its way is closer to the next.
    expect(at - began).toBeGreaterThan(i * 100);
  }
}, 25_000);

test('while the topic is down nothing is sent again, and a sending that fails does not count as one', async () => {
  const [lost, fine] = await lab.fill(['lost', 'fine']);
  lab.relay();
  await lab.relayedAll();
  await cameBack([fine!]);
  lab.sink.answer = () => ({ refuse: () => true });
  await relayed([lost!], 301);
  await eventually(async () =>
    expect(await lab.count('relayed', "sends = 1 and resend_at > now() + interval '4 min'")).toBe(1),
  );
  expect(sends(lost!)).toBe(1);
});

test('two relays send again only what is theirs', async () => {
  const ids = await lab.fill(keys(30));
  lab.relay();
  lab.relay();
  await relayed(ids.slice(1), 301);
  await cameBack([ids[0]!]);
  await eventually(async () => expect(await lab.count('relayed', 'sends = 2')).toBe(29), { timeoutMs: 15_000 });
  expect(lab.sink.arrivals).toHaveLength(30 + 29);
});

test('what is sent again finds out, where nothing else waits, that publishing works again', async () => {
  const [lost] = await lab.fill(['lost']);
  lab.relay();
  await lab.relayedAll();
  lab.sink.answer = () => 'reset';
  const [uncertain] = await lab.fill(['uncertain']);
  await eventually(() => expect(lab.complaints().length).toBeGreaterThan(0));
  // The broker had it all the same: the recorder takes it out of the outbox, and nothing is left to probe with.
  await lab.database.sql('delete from eventing.outbox where id = $1', [uncertain]);
  await relayed([lost!], 301);
  lab.sink.answer = () => 'accept';
  await eventually(() => expect(sends(lost!)).toBe(2));
});

test('what cannot be sent again is an outage too: it is told, and waited for', async () => {
  const [lost] = await lab.fill(['lost']);
  lab.relay();
  await lab.relayedAll();
  lab.sink.answer = () => 'reset';
  await relayed([lost!], 301);
  await eventually(() =>
    expect(lab.complaints()).toContain('nothing can be published: messages wait, and no attempts are spent'),
  );
  lab.sink.answer = () => 'accept';
  await eventually(() => expect(sends(lost!)).toBe(2));
});
