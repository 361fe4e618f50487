import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api } from '../../local/api.ts';
import type { Running } from '../../local/running.ts';
import { playStory } from '../../local/story.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith, type TestStack } from '../support/stack.ts';
import { eraseConsumers, eraseStreams } from './broker.ts';
import { invariants } from './invariants.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStackWith({ env: { SILENCE_SECONDS: '2', RESEND_AFTER_SECONDS: '8' } });
}, 130_000);
afterAll(() => stack?.[Symbol.asyncDispose](), 60_000);

const silent = () => undefined;

test('subscriptions that the broker has forgotten are noticed and made again, and the story comes true', async () => {
  const running = await stack.running();
  await playStory(running, silent);
  await eraseConsumers(running.brokerUrl);
  await playStory(running, silent);
  await invariants(await stack.running());
}, 120_000);

test('a broker that comes back without its data costs nothing: what had not come back is sent again, each effect is there once', async () => {
  const running = await stack.running();
  await stack.script('stack.ts', 'stop', 'publish-recorder');
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Somebody' };
  await new Api(running.memberUrl).post('/v1/members', person);
  // The broker has it, and nobody can know whether it has come back.
  await eventually(async () => expect(await relayedNotBack(running)).toBe(1));
  await stack.script('stack.ts', 'stop', 'member-daprd');
  const story = playStory(running, silent);
  await eraseStreams(running.brokerUrl);
  await stack.script('stack.ts', 'kill', 'broker');
  // Nor does anybody else have it in his hands any more.
  await stack.script('stack.ts', 'kill', 'publish-recorder');
  await stack.script('stack.ts', 'kill', 'publish-recorder-daprd');
  await stack.script('stack.ts', 'cont', 'member-daprd');
  await story;
  await invariants(await stack.running());
}, 120_000);

async function relayedNotBack({ databases }: Running): Promise<number> {
  const client = new Client(databases.member.readonly);
  await client.connect();
  try {
    const { rows } = await client.query(
      `select from eventing.delivery where channel = 'internal' and relayed_at is not null and published_at is null`,
    );
    return rows.length;
  } finally {
    await client.end();
  }
}
