import { eventually } from '../../support/eventually.ts';
import { keys, RelayLab } from './lab.ts';

let lab: RelayLab;
beforeAll(async () => {
  lab = await RelayLab.open();
});
afterEach(() => lab.clear());
afterAll(() => lab[Symbol.asyncDispose]());

const everyone = { refuse: () => true };

/** Waits for so many more calls. */
const calls = async (more: number): Promise<void> => {
  const target = lab.sink.calls.length + more;
  await eventually(() => expect(lab.sink.calls.length).toBeGreaterThanOrEqual(target));
};
/** While others are published, which tells a bad message from a broker that is down. */
const parked = (): Promise<void> =>
  eventually(async () => {
    await lab.fill(['other']);
    expect(await lab.count('outbox', 'parked_at is not null')).toBe(1);
  });
const untouched = 'attempts = 0 and parked_at is null and next_attempt_at is null and last_error is null';

describe('A broker that is down', () => {
  test.each([
    ['refuses everything', everyone],
    ['lets daprd answer something that nobody foresaw', { status: 502, body: '<html>' }],
    ['takes daprd with it', 'reset' as const],
    ['keeps daprd from answering', 'hang' as const],
  ])(
    '%s: no attempt is spent, and all goes on in order afterwards',
    async (_, answer) => {
      await lab.fill(keys(20), 5);
      lab.sink.answer = () => answer;
      lab.relay({ timeoutMs: 100 });
      await calls(3);
      expect(await lab.count('outbox', untouched)).toBe(100);
      lab.sink.answer = () => 'accept';
      await lab.relayedAll();
      lab.expectInOrder();
      expect(await lab.count('relayed', 'attempts = 0')).toBe(100);
      expect(lab.complaints()).toEqual(['nothing can be published: messages wait, and no attempts are spent']);
    },
    20_000,
  );

  test('is asked with one message at a time, another key’s each time', async () => {
    await lab.fill(keys(20), 2);
    lab.sink.answer = () => everyone;
    lab.relay();
    await calls(8);
    const probes = lab.sink.calls
      .slice(1, 8)
      .map(({ entries }) => entries.map(({ metadata }) => metadata?.partitionKey));
    expect(probes.map(({ length }) => length)).toEqual(probes.map(() => 1));
    for (const [i, probe] of probes.slice(1).entries()) expect(probe).not.toEqual(probes[i]);
  });

  test('and goes down in the middle of a wave costs no attempt either', async () => {
    await lab.fill(keys(100), 3);
    let taken = 0;
    // The first 40 of the first wave go through, then nothing does, twice over.
    lab.sink.answer = () => ({ refuse: () => taken++ >= 40 });
    lab.relay();
    await calls(4);
    taken = 0;
    await calls(4);
    lab.sink.answer = () => 'accept';
    await lab.relayedAll();
    lab.expectInOrder();
    expect(await lab.count('relayed', 'attempts > 0')).toBe(0);
  });

  test('and what has lost its way to the broker is told to start again, but neither who is to be reached nor who is to be set right', async () => {
    const told: string[] = [];
    const sidecar = {
      suspect: async (topic: string) => told.push(topic) > 0,
      trust: (topic: string) => void told.push(`not ${topic}`),
    };
    lab.sink.answer = (topic) => {
      if (topic === 'lamp-a') return 'reset';
      if (topic === 'lamp-b') return { status: 403, body: '{"errorCode":"ERR_PUBSUB_FORBIDDEN"}' };
      return everyone;
    };
    for (const topic of ['lamp-a', 'lamp-b', 'lamp-internal']) await lab.fill(keys(2), 1, topic);
    lab.relay({ sidecar });
    await calls(12);
    expect(new Set(told)).toEqual(new Set(['not lamp-a', 'not lamp-b', 'lamp-internal']));
    lab.sink.answer = () => 'accept';
    await lab.relayedAll();
    expect(told).toContain('not lamp-internal');
  });

  test('for one topic only keeps no other waiting', async () => {
    lab.sink.answer = (topic) => (topic === 'lamp-external' ? everyone : 'accept');
    await lab.fill(keys(10), 3, 'lamp-external');
    await lab.fill(keys(10), 30, 'lamp-internal');
    lab.relay();
    await eventually(async () => expect(await lab.count('outbox', "topic = 'lamp-internal'")).toBe(0));
    expect(await lab.count('outbox', untouched)).toBe(30);
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
])(
  'a mistake in the configuration (%i) is told once, with what to look at, and costs nothing',
  async (status, body, hint) => {
    await lab.fill(keys(5));
    lab.sink.answer = () => ({ status, body });
    lab.relay();
    await calls(6);
    const complaints = lab.log.filter(({ level }) => level >= 40);
    expect(complaints).toHaveLength(1);
    expect(complaints[0]).toMatchObject({ level: 50, topic: 'lamp-internal', reason: expect.stringContaining(hint) });
    expect(await lab.count('outbox', untouched)).toBe(5);
  },
);

describe('A database that cannot be written', () => {
  test('has nothing sent twice that was accepted: it is marked when it can be', async () => {
    await lab.fill(keys(20), 2);
    await lab.database.sql('revoke insert on eventing.relayed from lab_relay');
    lab.relay();
    await eventually(() =>
      expect(lab.log.filter(({ msg }) => msg.startsWith('has no lease')).length).toBeGreaterThan(0),
    );
    await eventually(async () =>
      expect(await lab.database.sql(`select from pg_stat_activity where application_name = 'relay'`)).toEqual([]),
    );
    await lab.database.sql('grant insert on eventing.relayed to lab_relay');
    await lab.relayedAll();
    lab.expectInOrder();
    expect(lab.sink.arrivals).toHaveLength(40);
  });
});

test('a relay without a sidecar leaves the partitions to others, until it has one again', async () => {
  let away = true;
  const ready = () => (away ? Promise.reject(new Error('no sidecar')) : Promise.resolve());
  const lonely = lab.relay({ ready });
  await lab.fill(keys(40));
  lab.relay();
  await lab.relayedAll();
  await expect(lonely.check()).rejects.toThrow('no lease');
  away = false;
  await eventually(() => lonely.check());
});

test('a relay that loses its sidecar gives its partitions away', async () => {
  let away = false;
  const ready = () => (away ? Promise.reject(new Error('no sidecar')) : Promise.resolve());
  lab.sink.answer = () => 'reset';
  const lonely = lab.relay({ ready });
  await eventually(() => lonely.check());
  away = true;
  await lab.fill(keys(40));
  await eventually(async () => {
    await lab.wake();
    await expect(lonely.check()).rejects.toThrow('no lease');
  });
}, 20_000);

describe('A message that cannot be published', () => {
  test('because daprd fails at it keeps none waiting of another key, each of which is tried in its turn', async () => {
    const [bad] = await lab.fill(['bad']);
    lab.sink.answer = (_, entries) =>
      entries.some(({ entryId }) => entryId === bad) ? { status: 502, body: 'panic' } : 'accept';
    await lab.fill(keys(5), 2);
    lab.relay();
    await eventually(async () => expect(await lab.count('outbox')).toBe(1), { timeoutMs: 20_000 });
    expect(lab.sink.arrivals).toHaveLength(10);
  }, 30_000);

  test('because it is no CloudEvent is parked without a witness', async () => {
    await lab.database.sql(
      `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope) values (gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-quiet', 'k', '[]')`,
    );
    lab.relay();
    await eventually(async () => expect(await lab.count('outbox', 'parked_at is not null and attempts = 5')).toBe(1));
  });

  test('is tried five times and more, parked with its key, and told at error; all others go their way', async () => {
    const [poison] = await lab.fill(['bad'], 3);
    await lab.fill(keys(30), 20);
    lab.sink.answer = () => ({ refuse: ({ entryId }) => entryId === poison, error: 'nats: maximum payload exceeded' });
    lab.relay();
    await parked();
    await eventually(async () => expect(await lab.count('outbox')).toBe(3));
    const rows = await lab.database.sql(
      'select id, attempts, last_error from eventing.outbox where parked_at is not null',
    );
    expect(rows).toEqual([{ id: poison, attempts: 5, last_error: 'nats: maximum payload exceeded' }]);
    expect(lab.sink.firsts('lamp-internal', 'bad')).toEqual([]);
    expect(await lab.count('relayed', 'attempts > 0')).toBe(0);
    expect(lab.log.filter(({ level }) => level >= 50)).toMatchObject([
      { id: poison, topic: 'lamp-internal', attempts: 5 },
    ]);
  });

  test('goes on with its key, in order, once an operator has set it free', async () => {
    const [poison] = await lab.fill(['bad'], 3);
    await lab.database.sql(`update eventing.outbox set parked_at = now(), attempts = 5 where id = $1`, [poison]);
    await lab.fill(['good']);
    lab.relay();
    await eventually(() => expect(lab.sink.firsts('lamp-internal', 'good')).toEqual([1]));
    await lab.database.sql('update eventing.outbox set parked_at = null, attempts = 0 where id = $1', [poison]);
    await lab.relayedAll();
    lab.expectInOrder();
  });

  test('alone keeps none waiting that comes later', async () => {
    const [poison] = await lab.fill(['bad']);
    lab.sink.answer = () => ({ refuse: ({ entryId }) => entryId === poison });
    // So long that whoever waited for the circuit would not be seen in this test.
    lab.relay({ backoff: { minMs: 60_000, maxMs: 60_000 } });
    await calls(1);
    await lab.fill(['good']);
    await lab.wake();
    await eventually(() => expect(lab.sink.firsts('lamp-internal', 'good')).toEqual([1]));
  });

  test('and of which daprd only says that the batch is bad, is found among the others', async () => {
    const [poison] = await lab.fill(['bad'], 2);
    await lab.fill(keys(60), 2);
    lab.sink.answer = (_, entries) =>
      entries.some(({ entryId }) => entryId === poison)
        ? { status: 500, body: '{"errorCode":"ERR_PUBSUB_CLOUD_EVENTS_SER","message":"cannot create cloudevent"}' }
        : 'accept';
    lab.relay();
    await parked();
    await eventually(async () => expect(await lab.count('outbox')).toBe(2));
    expect(lab.sink.firsts('lamp-internal', 'bad')).toEqual([]);
  });
});
