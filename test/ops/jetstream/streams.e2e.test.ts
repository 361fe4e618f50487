import { AckPolicy, DiscardPolicy, jetstream } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { ensureStreams } from '../../../ops/jetstream/streams.ts';
import { close, command, connection, limits, MIB, manager, open, url } from './broker.ts';

beforeAll(open);
afterAll(close);

const HOUR_MS = 3_600_000;
const configOf = async (topic: string) => (await manager.streams.info(topic)).config;
const publish = (topic: string, bytes: number) => jetstream(connection).publish(topic, new Uint8Array(bytes));
const unchanged = { created: false, changed: {}, left: {} };

test('a missing stream is created, and a second run changes nothing', async () => {
  expect(await ensureStreams(url, ['a', 'b'], limits)).toEqual([
    { ...unchanged, topic: 'a', created: true },
    { ...unchanged, topic: 'b', created: true },
  ]);
  expect(await configOf('a')).toMatchObject({
    subjects: ['a'],
    discard: DiscardPolicy.New,
    max_bytes: 4 * MIB,
    max_age: nanos(48 * HOUR_MS),
  });
  expect(await ensureStreams(url, ['a', 'b'], limits)).toEqual([
    { ...unchanged, topic: 'a' },
    { ...unchanged, topic: 'b' },
  ]);
});

test('limits changed by hand are reset and reported, and other settings are kept', async () => {
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

test('a stream is not made smaller than its content, and all other limits are set', async () => {
  await ensureStreams(url, ['full'], limits);
  for (let i = 0; i < 3; i++) await publish('full', 0.8 * MIB);
  const given = { ...limits, maxBytes: 2 * MIB, maxAgeHours: 72 };
  expect(await ensureStreams(url, ['full'], given)).toEqual([
    {
      topic: 'full',
      created: false,
      changed: { max_age: { from: '48.00 h', to: '72.00 h' } },
      left: { max_bytes: 'stream holds 2.4 MiB, wanted 2.0 MiB' },
    },
  ]);
  expect(await configOf('full')).toMatchObject({ max_bytes: 4 * MIB, max_age: nanos(72 * HOUR_MS) });
  expect((await manager.streams.info('full')).state.messages).toBe(3);
});

test('the age limit is not lowered below the age of messages that a consumer has not seen', async () => {
  // An age limit of 0 h makes new messages too old, as messages of several days ago would be.
  const [days, none] = [limits, { ...limits, maxAgeHours: 0 }];
  await ensureStreams(url, ['slow'], days);
  for (let i = 0; i < 2; i++) await publish('slow', 10);
  const left = {
    max_age: expect.stringMatching(/^a pending message is 0\.00 h old/),
  };
  // Without consumers, all messages count as not seen.
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

test('create-streams creates a missing stream', async () => {
  expect(await command(['ops/jetstream/create-streams.ts', 'by-command'])).toContain('"msg":"created"');
  expect(await configOf('by-command')).toMatchObject({ subjects: ['by-command'] });
});
