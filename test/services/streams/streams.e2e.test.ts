import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { AckPolicy, DiscardPolicy, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection, nanos } from '@nats-io/transport-node';
import { brokerArguments } from '../../../local/broker.ts';
import { natsServer } from '../../../local/programs.ts';
import { ensureStreams } from '../../../services/streams/streams.ts';
import { updateConsumers } from '../../../services/streams/update-consumers.ts';
import { temporaryFolder } from '../../local/folder.ts';
import { eventually } from '../../support/eventually.ts';
import { programPath } from '../../support/helm.ts';
import { root } from '../../support/stack.ts';

const [MIB, HOUR_MS] = [1024 ** 2, 3_600_000];
const limits = { replicas: 1, maxBytes: 4 * MIB, maxAgeHours: 48 };
const stack = new AsyncDisposableStack();
let url: string;
let connection: NatsConnection;
let manager: JetStreamManager;
beforeAll(async () => {
  const folder = stack.use(await temporaryFolder());
  // A port of its own choice, which it tells.
  const args = await brokerArguments(folder.path, -1, 'a-token');
  const child = spawn(await programPath(natsServer), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  stack.defer(() => ended(child));
  url = `nats://a-token@127.0.0.1:${await portOf(child)}`;
  connection = await connect({ servers: new URL(url).host, token: 'a-token' });
  stack.defer(() => connection.close());
  manager = await jetstreamManager(connection);
});
afterAll(() => stack.disposeAsync());

async function ended(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close');
  child.kill();
  await closed;
}

function portOf(child: ChildProcess): Promise<string> {
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  return eventually(() => {
    const port = /client connections on 127\.0\.0\.1:(\d+)/.exec(said)?.[1];
    if (!port || !said.includes('Server is ready')) throw new Error(`no server yet: ${said}`);
    return port;
  });
}

const configOf = async (topic: string) => (await manager.streams.info(topic)).config;
const publish = (topic: string, bytes: number) => jetstream(connection).publish(topic, new Uint8Array(bytes));
const nothing = { created: false, changed: {}, left: {} };

test('a stream that is missing is created; again, nothing is done', async () => {
  expect(await ensureStreams(url, ['a', 'b'], limits)).toEqual([
    { ...nothing, topic: 'a', created: true },
    { ...nothing, topic: 'b', created: true },
  ]);
  expect(await configOf('a')).toMatchObject({
    subjects: ['a'],
    discard: DiscardPolicy.New,
    max_bytes: 4 * MIB,
    max_age: nanos(48 * HOUR_MS),
  });
  expect(await ensureStreams(url, ['a', 'b'], limits)).toEqual([
    { ...nothing, topic: 'a' },
    { ...nothing, topic: 'b' },
  ]);
});

test('limits that somebody has changed by hand become those that are given, and that is told; what is not ours stays', async () => {
  await ensureStreams(url, ['by-hand'], limits);
  const byHand = { max_bytes: 8 * MIB, max_age: 0, discard: DiscardPolicy.Old, description: 'ours', max_consumers: 9 };
  await manager.streams.update('by-hand', { ...byHand, subjects: ['by-hand', 'another'] });
  expect(await ensureStreams(url, ['by-hand'], limits)).toEqual([
    {
      topic: 'by-hand',
      created: false,
      changed: {
        max_bytes: { from: '8.0 MiB', to: '4.0 MiB' },
        max_age: { from: 'unlimited', to: '48.00 h' },
        discard: { from: 'old', to: 'new' },
      },
      left: {},
    },
  ]);
  const subjects = ['by-hand', 'another'];
  expect(await configOf('by-hand')).toMatchObject({ max_bytes: 4 * MIB, description: 'ours', subjects });
});

test('a stream is not made smaller than what it holds, and all else is set', async () => {
  await ensureStreams(url, ['full'], limits);
  for (let i = 0; i < 3; i++) await publish('full', 0.8 * MIB);
  const given = { ...limits, maxBytes: 2 * MIB, maxAgeHours: 72 };
  expect(await ensureStreams(url, ['full'], given)).toEqual([
    {
      topic: 'full',
      created: false,
      changed: { max_age: { from: '48.00 h', to: '72.00 h' } },
      left: { max_bytes: 'it holds 2.4 MiB, and 2.0 MiB are wanted' },
    },
  ]);
  expect(await configOf('full')).toMatchObject({ max_bytes: 4 * MIB, max_age: nanos(72 * HOUR_MS) });
  expect((await manager.streams.info('full')).state.messages).toBe(3);
});

test('messages that a consumer has not seen are not made too old', async () => {
  // A limit of no length stands for messages of some days ago.
  const [days, none] = [limits, { ...limits, maxAgeHours: 0 }];
  await ensureStreams(url, ['slow'], days);
  for (let i = 0; i < 2; i++) await publish('slow', 10);
  const left = {
    max_age: expect.stringMatching(/^somebody has not seen a message of 0\.00 h ago/),
  };
  // Without consumers, nobody has seen any.
  expect(await ensureStreams(url, ['slow'], none)).toMatchObject([{ changed: {}, left }]);
  for (const durable_name of ['quick', 'slow'])
    await manager.consumers.add('slow', { durable_name, ack_policy: AckPolicy.Explicit });
  const see = async (durable: string) =>
    (await (await jetstream(connection).consumers.get('slow', durable)).next())!.ackAck();
  for (let i = 0; i < 2; i++) await see('quick');
  await see('slow');
  expect(await ensureStreams(url, ['slow'], none)).toMatchObject([{ changed: {}, left }]);
  expect((await manager.streams.info('slow')).state.messages).toBe(2);
  await see('slow');
  expect(await ensureStreams(url, ['slow'], { ...limits, maxAgeHours: 1 })).toMatchObject([
    { changed: { max_age: { from: '48.00 h', to: '1.00 h' } }, left: {} },
  ]);
});

/** A command of the image, which finds the one of several servers that is there. */
async function command(args: string[], more: Record<string, string> = {}): Promise<string> {
  const env = { PATH: process.env.PATH, NATS_URL: `nats://a-token@127.0.0.1:1,${url}`, ...more };
  return (await promisify(execFile)(process.execPath, args, { cwd: root, env })).stdout;
}

test('the command creates what is missing', async () => {
  expect(await command(['services/streams/main.ts', 'by-command'])).toContain('"msg":"created"');
  expect(await configOf('by-command')).toMatchObject({ subjects: ['by-command'] });
});

const settings = { backOffSeconds: [20, 30], maxAckPending: 8 };
/** As a sidecar makes it. */
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

test('consumers that are there get the settings that are given, and keep all else', async () => {
  await ensureStreams(url, ['heard'], limits);
  for (const app of ['one', 'two', 'another']) await manager.consumers.add('heard', consumer(app, 'heard'));
  const before = await manager.consumers.info('heard', 'one-heard');
  const subscriptions = { heard: ['one', 'two', 'missing'], 'no-such-topic': ['one'] };
  const changed = {
    ack_wait: { from: '15 s', to: '20 s' },
    backoff: { from: '15 s, 30 s', to: '20 s, 30 s' },
    max_ack_pending: { from: '16', to: '8' },
  };
  expect(await updateConsumers(url, subscriptions, settings)).toEqual([
    { consumer: 'one-heard', changed },
    { consumer: 'two-heard', changed },
  ]);
  const { config } = await manager.consumers.info('heard', 'one-heard');
  const wanted = { ack_wait: nanos(20_000), backoff: [nanos(20_000), nanos(30_000)], max_ack_pending: 8 };
  expect(config).toEqual({ ...before.config, ...wanted });
  expect((await manager.consumers.info('heard', 'another-heard')).config).toMatchObject({ max_ack_pending: 16 });
  // As by hand: what the server makes of a backoff alone is what it is given here.
  const byHand = await manager.consumers.update('heard', 'another-heard', { backoff: wanted.backoff });
  expect(byHand.config).toMatchObject({ ack_wait: wanted.ack_wait });
  expect(await updateConsumers(url, subscriptions, settings)).toEqual([
    { consumer: 'one-heard', changed: {} },
    { consumer: 'two-heard', changed: {} },
  ]);
  expect(await manager.consumers.list('heard').next()).toHaveLength(3);
});

test('whoever is bound to a consumer meanwhile goes on where it was', async () => {
  await ensureStreams(url, ['going-on'], limits);
  const { deliver_subject, ...asked } = consumer('app', 'going-on');
  await manager.consumers.add('going-on', { ...asked, deliver_subject });
  const heard: string[] = [];
  const subscription = connection.subscribe(deliver_subject, {
    queue: asked.deliver_group,
    callback: (_, message) => {
      heard.push(message.string());
      message.respond();
    },
  });
  for (const body of ['1', '2']) await jetstream(connection).publish('going-on', body);
  await eventually(() => expect(heard).toEqual(['1', '2']));
  await updateConsumers(url, { 'going-on': ['app'] }, settings);
  await jetstream(connection).publish('going-on', '3');
  await eventually(() => expect(heard).toEqual(['1', '2', '3']));
  await eventually(async () =>
    expect(await manager.consumers.info('going-on', 'app-going-on')).toMatchObject({
      num_ack_pending: 0,
      config: { max_ack_pending: 8, filter_subject: 'going-on', deliver_subject },
    }),
  );
  subscription.unsubscribe();
});

test('the command tells what it has changed, and what it wants to be told', async () => {
  const given = { CONSUMER_BACK_OFF_SECONDS: '20,60', CONSUMER_MAX_ACK_PENDING: '4' };
  await ensureStreams(url, ['told'], limits);
  await manager.consumers.add('told', consumer('app', 'told'));
  const lines = await command(['services/streams/consumers.ts', 'told=app,other'], given);
  expect(lines).toContain('"consumer":"app-told","changed":{"ack_wait":{"from":"15 s","to":"20 s"}');
  expect(lines).toContain('"consumers":["app-told"],"msg":"done"');
  for (const args of [[], ['told'], ['told='], ['told=app;x']])
    await expect(command(['services/streams/consumers.ts', ...args], given)).rejects.toMatchObject({
      stdout: expect.stringContaining('TOPIC=APP,APP'),
    });
});
