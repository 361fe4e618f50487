import { eventually } from '../../support/eventually.ts';
import { keys, RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await RelayFixture.open();
});
afterEach(() => fixture.reset());
afterAll(() => fixture[Symbol.asyncDispose]());

const refuseAll = { refuse: () => true };

/** Waits for `more` further calls. */
const calls = async (more: number): Promise<void> => {
  const target = fixture.fakeDaprd.calls.length + more;
  await eventually(() => expect(fixture.fakeDaprd.calls.length).toBeGreaterThanOrEqual(target));
};
/** Waits until a message is parked. Other messages are accepted meanwhile: else it would count as an outage. */
const waitUntilParked = (): Promise<void> =>
  eventually(async () => {
    await fixture.fill(['other']);
    expect(await fixture.count('outbox', 'parked_at is not null')).toBe(1);
  });
const untouched = 'attempts = 0 and parked_at is null and next_attempt_at is null and last_error is null';

describe('A broker outage', () => {
  test.each([
    ['refused messages', refuseAll],
    ['unexpected answers of daprd', { status: 502, body: '<html>' }],
    ['reset connections to daprd', 'reset' as const],
    ['a daprd that hangs', 'hang' as const],
  ])(
    'spends no attempt and keeps the order of messages: %s',
    async (_, answer) => {
      await fixture.fill(keys(20), 5);
      fixture.fakeDaprd.answer = () => answer;
      fixture.relay({ timeoutMs: 100 });
      await calls(3);
      // A call that gets an unknown answer is halved before that counts as an outage.
      await eventually(() => expect(fixture.warnings()).toHaveLength(1));
      expect(await fixture.count('outbox', untouched)).toBe(100);
      fixture.fakeDaprd.answer = () => 'accept';
      await fixture.waitUntilSent();
      fixture.expectInOrder();
      expect(await fixture.count('relayed', 'attempts = 0')).toBe(100);
      expect(fixture.warnings()).toEqual(['publishing failed, probing: messages wait, no attempts are spent']);
    },
    20_000,
  );

  test('is probed with one message at a time, of another key each time', async () => {
    await fixture.fill(keys(20), 2);
    fixture.fakeDaprd.answer = () => refuseAll;
    fixture.relay();
    await calls(8);
    const probes = fixture.fakeDaprd.calls
      .slice(1, 8)
      .map(({ entries }) => entries.map(({ metadata }) => metadata?.partitionKey));
    expect(probes.map(({ length }) => length)).toEqual(probes.map(() => 1));
    for (const [i, probe] of probes.slice(1).entries()) expect(probe).not.toEqual(probes[i]);
  });

  test('spends no attempt when it begins within a call', async () => {
    await fixture.fill(keys(100), 3);
    const accepted = (share: number) => (_: string, entries: readonly { readonly entryId: string }[]) => {
      const ids = new Set(entries.slice(0, Math.floor(entries.length * share)).map(({ entryId }) => entryId));
      return { refuse: ({ entryId }: { readonly entryId: string }) => !ids.has(entryId) };
    };
    const outage = [accepted(0.4), accepted(0), accepted(0), accepted(0)];
    // One of the probes is accepted; the next outage begins in the calls that follow.
    const script = [...outage, accepted(1), ...outage];
    fixture.fakeDaprd.answer = (topic, entries) => (script.shift() ?? accepted(1))(topic, entries);
    fixture.relay();
    await calls(9);
    await fixture.waitUntilSent();
    fixture.expectInOrder();
    expect(await fixture.count('relayed', 'attempts > 0')).toBe(0);
  });

  test('spends no attempt on messages that an earlier outage had held back', async () => {
    await fixture.fill(keys(10));
    fixture.fakeDaprd.answer = () => ({ refuse: ({ event }) => event.partitionkey >= 'key-5' });
    fixture.relay({ retryPolicy: { attempts: 5, firstRetrySeconds: 3_600 } });
    await eventually(async () => expect(await fixture.count('outbox', 'next_attempt_at is not null')).toBe(5));
    fixture.fakeDaprd.answer = () => 'accept';
    await fixture.fill(['healthy'], 20);
    await eventually(async () => expect(await fixture.count('outbox')).toBe(5));
    fixture.fakeDaprd.answer = () => refuseAll;
    await fixture.fill(['last']);
    await calls(2);
    await fixture.database.sql('update eventing.outbox set next_attempt_at = now() where next_attempt_at is not null');
    const probed = () => new Set(fixture.fakeDaprd.calls.slice(-20).map(({ entries }) => entries[0]!.entryId));
    await eventually(() => expect(probed().size).toBe(6));
    fixture.fakeDaprd.answer = () => 'accept';
    await fixture.waitUntilSent();
    expect(await fixture.count('relayed', 'attempts > 0')).toBe(0);
  });

  test('is reported to the sidecar watchdog, unlike an unreachable or misconfigured sidecar', async () => {
    const reports: string[] = [];
    const sidecar = {
      reportFailure: async (topic: string) => reports.push(topic) > 0,
      reportSuccess: (topic: string) => void reports.push(`not ${topic}`),
    };
    fixture.fakeDaprd.answer = (topic) => {
      if (topic === 'lamp-a') return 'reset';
      if (topic === 'lamp-b') return { status: 403, body: '{"errorCode":"ERR_PUBSUB_FORBIDDEN"}' };
      return refuseAll;
    };
    for (const topic of ['lamp-a', 'lamp-b', 'lamp-internal']) await fixture.fill(keys(2), 1, topic);
    fixture.relay({ sidecar });
    await calls(12);
    expect(new Set(reports)).toEqual(new Set(['not lamp-a', 'not lamp-b', 'lamp-internal']));
    fixture.fakeDaprd.answer = () => 'accept';
    await fixture.waitUntilSent();
    expect(reports).toContain('not lamp-internal');
  });

  test('does not delay other topics when it affects one', async () => {
    fixture.fakeDaprd.answer = (topic) => (topic === 'lamp-external' ? refuseAll : 'accept');
    await fixture.fill(keys(10), 3, 'lamp-external');
    await fixture.fill(keys(10), 30, 'lamp-internal');
    fixture.relay();
    await eventually(async () => expect(await fixture.count('outbox', "topic = 'lamp-internal'")).toBe(0));
    expect(await fixture.count('outbox', untouched)).toBe(30);
  });
});

test.each([
  [401, 'invalid api token', 'DAPR_API_TOKEN'],
  [
    403,
    '{"errorCode":"ERR_PUBSUB_FORBIDDEN","message":"topic lamp-internal is not allowed for app id lamp"}',
    'publishingScopes',
  ],
  [404, '{"errorCode":"ERR_PUBSUB_NOT_FOUND","message":"pubsub lamp-internal is not found"}', 'component'],
])('a misconfiguration (%i) is logged once with a hint and spends no attempt', async (status, body, hint) => {
  await fixture.fill(keys(5));
  fixture.fakeDaprd.answer = () => ({ status, body });
  fixture.relay();
  await calls(6);
  const warnings = fixture.log.filter(({ level }) => level >= 40);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatchObject({ level: 50, topic: 'lamp-internal', reason: expect.stringContaining(hint) });
  expect(await fixture.count('outbox', untouched)).toBe(5);
});

test('a relay without a sidecar takes no partitions until it has one', async () => {
  let isSidecarDown = true;
  const ready = () => (isSidecarDown ? Promise.reject(new Error('no sidecar')) : Promise.resolve());
  const relay = fixture.relay({ ready });
  await fixture.fill(keys(40));
  fixture.relay();
  await fixture.waitUntilSent();
  await expect(relay.check()).rejects.toThrow('no lease');
  isSidecarDown = false;
  await eventually(() => relay.check());
});

test('a relay that loses its sidecar releases its partitions', async () => {
  let isSidecarDown = false;
  const ready = () => (isSidecarDown ? Promise.reject(new Error('no sidecar')) : Promise.resolve());
  fixture.fakeDaprd.answer = () => 'reset';
  const relay = fixture.relay({ ready });
  await eventually(() => relay.check());
  isSidecarDown = true;
  await fixture.fill(keys(40));
  await eventually(async () => {
    await fixture.wake();
    await expect(relay.check()).rejects.toThrow('no lease');
  });
}, 20_000);

describe('A message that cannot be published', () => {
  test('does not delay other keys when daprd fails on it', async () => {
    const [bad] = await fixture.fill(['bad']);
    fixture.fakeDaprd.answer = (_, entries) =>
      entries.some(({ entryId }) => entryId === bad) ? { status: 502, body: 'panic' } : 'accept';
    await fixture.fill(keys(5), 2);
    fixture.relay();
    await eventually(async () => expect(await fixture.count('outbox')).toBe(1), { timeoutMs: 20_000 });
    expect(fixture.fakeDaprd.arrivals).toHaveLength(10);
  }, 30_000);

  test('is parked without other traffic when it is no CloudEvent', async () => {
    await fixture.database.sql(
      `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope) values (gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-quiet', 'k', '[]')`,
    );
    fixture.relay();
    const parked = 'parked_at is not null and attempts = 5';
    await eventually(async () => expect(await fixture.count('outbox', parked)).toBe(1));
  });

  test('is parked with its key after five attempts and logged as an error; others are sent', async () => {
    const [poison] = await fixture.fill(['bad'], 3);
    await fixture.fill(keys(30), 20);
    fixture.fakeDaprd.answer = () => ({
      refuse: ({ entryId }) => entryId === poison,
      error: 'nats: maximum payload exceeded',
    });
    fixture.relay();
    await waitUntilParked();
    await eventually(async () => expect(await fixture.count('outbox')).toBe(3));
    const rows = await fixture.database.sql(
      'select id, attempts, last_error from eventing.outbox where parked_at is not null',
    );
    expect(rows).toEqual([{ id: poison, attempts: 5, last_error: 'nats: maximum payload exceeded' }]);
    expect(fixture.fakeDaprd.firstArrivals('lamp-internal', 'bad')).toEqual([]);
    expect(await fixture.count('relayed', 'attempts > 0')).toBe(0);
    expect(fixture.log.filter(({ level }) => level >= 50)).toMatchObject([
      { id: poison, topic: 'lamp-internal', attempts: 5 },
    ]);
  });

  test('is sent with its key, in order, once an operator releases it', async () => {
    const [poison] = await fixture.fill(['bad'], 3);
    await fixture.database.sql(`update eventing.outbox set parked_at = now(), attempts = 5 where id = $1`, [poison]);
    await fixture.fill(['good']);
    fixture.relay();
    await eventually(() => expect(fixture.fakeDaprd.firstArrivals('lamp-internal', 'good')).toEqual([1]));
    await fixture.database.sql('update eventing.outbox set parked_at = null, attempts = 0 where id = $1', [poison]);
    await fixture.waitUntilSent();
    fixture.expectInOrder();
  });

  test('does not delay later messages when it is alone', async () => {
    const [poison] = await fixture.fill(['bad']);
    fixture.fakeDaprd.answer = () => ({ refuse: ({ entryId }) => entryId === poison });
    // Longer than the test: a message that waited for the circuit would not arrive in it.
    fixture.relay({ backoff: { minMs: 60_000, maxMs: 60_000 } });
    await calls(1);
    await fixture.fill(['good']);
    await fixture.wake();
    await eventually(() => expect(fixture.fakeDaprd.firstArrivals('lamp-internal', 'good')).toEqual([1]));
  });

  test('is identified when daprd rejects the whole batch', async () => {
    const [poison] = await fixture.fill(['bad'], 2);
    await fixture.fill(keys(60), 2);
    fixture.fakeDaprd.answer = (_, entries) =>
      entries.some(({ entryId }) => entryId === poison)
        ? { status: 500, body: '{"errorCode":"ERR_PUBSUB_CLOUD_EVENTS_SER","message":"cannot create cloudevent"}' }
        : 'accept';
    fixture.relay();
    await waitUntilParked();
    await eventually(async () => expect(await fixture.count('outbox')).toBe(2));
    expect(fixture.fakeDaprd.firstArrivals('lamp-internal', 'bad')).toEqual([]);
  });
});
