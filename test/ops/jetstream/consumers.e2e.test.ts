import { AckPolicy, DeliverPolicy, jetstream } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { type ConsumerReport, ensureConsumers } from '../../../ops/jetstream/ensure-consumers.ts';
import { ensureStreams } from '../../../ops/jetstream/streams.ts';
import { eventually } from '../../support/eventually.ts';
import { close, command, connection, limits, manager, open, url } from './broker.ts';

beforeAll(open);
afterAll(close);

const settings = { backOffSeconds: [20, 30], maxAckPending: 8 };
/** Returns a consumer's settings as a sidecar creates it. */
const consumer = (app: string, topic: string) => ({
  durable_name: `${app}-${topic}`,
  deliver_subject: `to-${app}-${topic}`,
  deliver_group: `${app}-${topic}`,
  filter_subject: topic,
  ack_policy: AckPolicy.Explicit,
  ack_wait: nanos(15_000),
  backoff: [nanos(15_000), nanos(30_000)],
  max_ack_pending: 16,
});

test('existing consumers get the given settings and keep all others', async () => {
  await ensureStreams(url, ['received'], limits);
  for (const app of ['one', 'two', 'another']) await manager.consumers.add('received', consumer(app, 'received'));
  const before = await manager.consumers.info('received', 'one-received');
  const subscriptions = { received: ['one', 'two'] };
  const changed = (app: string) => ({
    ack_wait: { from: '15 s', to: '20 s' },
    backoff: { from: '15 s, 30 s', to: '20 s, 30 s' },
    max_ack_pending: { from: '16', to: '8' },
    deliver_subject: { from: `to-${app}-received`, to: `deliver.${app}-received` },
  });
  expect(await ensureConsumers(url, subscriptions, settings)).toEqual([
    { consumer: 'one-received', created: false, changed: changed('one') },
    { consumer: 'two-received', created: false, changed: changed('two') },
  ]);
  const { config } = await manager.consumers.info('received', 'one-received');
  const wanted = { ack_wait: nanos(20_000), backoff: [nanos(20_000), nanos(30_000)], max_ack_pending: 8 };
  expect(config).toEqual({ ...before.config, ...wanted, deliver_subject: 'deliver.one-received' });
  expect((await manager.consumers.info('received', 'another-received')).config).toMatchObject({ max_ack_pending: 16 });
  // As by hand: the server derives the same ack_wait from a backoff alone.
  const byHand = await manager.consumers.update('received', 'another-received', { backoff: wanted.backoff });
  expect(byHand.config).toMatchObject({ ack_wait: wanted.ack_wait });
  expect(await ensureConsumers(url, subscriptions, settings)).toEqual([
    { consumer: 'one-received', created: false, changed: {} },
    { consumer: 'two-received', created: false, changed: {} },
  ]);
  expect(await manager.consumers.list('received').next()).toHaveLength(3);
});

test('a missing consumer is created as by a sidecar, from the first message on', async () => {
  await ensureStreams(url, ['new'], limits);
  await jetstream(connection).publish('new', 'before');
  expect(await ensureConsumers(url, { new: ['app'] }, settings)).toEqual([
    { consumer: 'app-new', created: true, changed: {} },
  ]);
  const { config, num_pending } = await manager.consumers.info('new', 'app-new');
  expect(num_pending).toBe(1);
  expect(config).toMatchObject({
    durable_name: 'app-new',
    deliver_group: 'app-new',
    deliver_subject: 'deliver.app-new',
    deliver_policy: DeliverPolicy.All,
    ack_policy: AckPolicy.Explicit,
    filter_subject: 'new',
    max_ack_pending: 8,
    max_deliver: -1,
  });
});

test('a topic without a stream is an error that says what to do', async () => {
  await expect(ensureConsumers(url, { 'no-such-topic': ['app'] }, settings)).rejects.toThrow(
    'no-such-topic has no stream for consumers: create it first, with ops/jetstream/create-streams.ts',
  );
});

test('a subscriber bound to an updated consumer goes on at its position', async () => {
  await ensureStreams(url, ['going-on'], limits);
  const { deliver_subject, ...settingsOfSidecar } = consumer('app', 'going-on');
  await manager.consumers.add('going-on', { ...settingsOfSidecar, deliver_subject });
  const received: string[] = [];
  const subscription = connection.subscribe(deliver_subject, {
    queue: settingsOfSidecar.deliver_group,
    callback: (_, message) => {
      received.push(message.string());
      message.respond();
    },
  });
  for (const body of ['1', '2']) await jetstream(connection).publish('going-on', body);
  await eventually(() => expect(received).toEqual(['1', '2']));
  await ensureConsumers(url, { 'going-on': ['app'] }, settings);
  await jetstream(connection).publish('going-on', '3');
  await eventually(() => expect(received).toEqual(['1', '2', '3']));
  await eventually(async () =>
    expect(await manager.consumers.info('going-on', 'app-going-on')).toMatchObject({
      num_ack_pending: 0,
      config: { max_ack_pending: 8, filter_subject: 'going-on', deliver_subject },
    }),
  );
  subscription.unsubscribe();
});

test('a bound consumer with an old deliver subject is recreated at its position', async () => {
  await ensureStreams(url, ['moved'], limits);
  const { deliver_subject, ...settingsOfSidecar } = consumer('app', 'moved');
  await manager.consumers.add('moved', { ...settingsOfSidecar, deliver_subject });
  const old = connection.subscribe(deliver_subject, {
    queue: settingsOfSidecar.deliver_group,
    callback: (_, message) => void (message.string() === 'done' && message.respond()),
  });
  for (const body of ['done', 'in flight']) await jetstream(connection).publish('moved', body);
  await eventually(async () =>
    expect(await manager.consumers.info('moved', 'app-moved')).toMatchObject({ num_ack_pending: 1, num_pending: 0 }),
  );
  const again = () => ensureConsumers(url, { moved: ['app'] }, { ...settings, recreateBound: true });
  const [{ changed }] = (await again()) as [ConsumerReport];
  expect(changed.deliver_subject).toEqual({ from: deliver_subject, to: 'deliver.app-moved' });
  const own = connection.subscribe('deliver.app-moved', { queue: 'app-moved', max: 1 });
  for await (const message of own) expect(message.string()).toBe('in flight');
  // Dapr compares all settings, so they have to equal those of a new consumer.
  await ensureConsumers(url, { moved: ['other'] }, settings);
  const configs = ['app', 'other'].map(async (app) => (await manager.consumers.info('moved', `${app}-moved`)).config);
  const [recreated, created] = await Promise.all(configs);
  expect(recreated).toEqual(JSON.parse(JSON.stringify(created).replaceAll('other-', 'app-')));
  expect(await again()).toEqual([{ consumer: 'app-moved', created: false, changed: {} }]);
  old.unsubscribe();
});

test('update-consumers logs its changes, and its usage on invalid arguments', async () => {
  const given = { CONSUMER_BACK_OFF_SECONDS: '20,60', CONSUMER_MAX_ACK_PENDING: '4' };
  await ensureStreams(url, ['updated'], limits);
  await manager.consumers.add('updated', consumer('app', 'updated'));
  const lines = await command(['ops/jetstream/update-consumers.ts', 'updated=app,other'], given);
  expect(lines).toContain('"consumer":"other-updated","msg":"created"');
  expect(lines).toContain('"consumer":"app-updated","changed":{"ack_wait":{"from":"15 s","to":"20 s"}');
  expect(lines).toContain('"consumers":["app-updated","other-updated"],"msg":"done"');
  for (const args of [[], ['updated'], ['updated='], ['updated=app;x']])
    await expect(command(['ops/jetstream/update-consumers.ts', ...args], given)).rejects.toMatchObject({
      stdout: expect.stringContaining('TOPIC=APP,APP'),
    });
});
