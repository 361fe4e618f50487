import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { playStory } from '../../local/story.ts';
import { invariants } from '../e2e/invariants.ts';
import { python } from '../support/python.ts';
import { startStack } from '../support/stack.ts';

test('a subscriber in another language understands every external event by what is published alone, its whole envelope too', async () => {
  const interpreter = await python();
  await using stack = await startStack();
  const running = await stack.running();
  const journeys = await playStory(running, () => undefined);
  await invariants(running);
  const { host, username: token } = new URL(running.brokerUrl);
  const document = join(import.meta.dirname, '../../services/member/contract/asyncapi.json');
  const script = join(import.meta.dirname, 'stranger.py');
  const { stdout } = await promisify(execFile)(interpreter, [script, `nats://${host}`, token, document], {
    timeout: 60_000,
  });
  const told: Record<string, number> = {};
  for (const { type } of journeys.filter((it) => it.type.startsWith('member.'))) told[type] = (told[type] ?? 0) + 1;
  expect(JSON.parse(stdout)).toEqual(told);
}, 500_000);
