import { playStory } from '../../local/story.ts';
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
  await stack.script('stack.ts', 'stop', 'member-daprd');
  const story = playStory(running, silent);
  await eraseStreams(running.brokerUrl);
  await stack.script('stack.ts', 'kill', 'broker');
  await stack.script('stack.ts', 'cont', 'publish-recorder');
  await stack.script('stack.ts', 'cont', 'member-daprd');
  await story;
  await invariants(await stack.running());
}, 120_000);
