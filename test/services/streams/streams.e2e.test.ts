import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { AckPolicy, DiscardPolicy, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection, nanos } from '@nats-io/transport-node';
import { brokerArguments } from '../../../local/broker.ts';
import { natsServer } from '../../../local/programs.ts';
import { ensureStreams } from '../../../services/streams/streams.ts';
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

test('the command finds the one of several servers that is there', async () => {
  const env = { PATH: process.env.PATH, NATS_URL: `nats://a-token@127.0.0.1:1,${url}` };
  const { stdout } = await promisify(execFile)(process.execPath, ['services/streams/main.ts', 'by-command'], {
    cwd: root,
    env,
  });
  expect(stdout).toContain('"msg":"created"');
  expect(await configOf('by-command')).toMatchObject({ subjects: ['by-command'] });
});
