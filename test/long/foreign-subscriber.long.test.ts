import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { playStory } from '../../local/story.ts';
import { expectInvariants } from '../e2e/invariants.ts';
import { python } from '../support/python.ts';
import { startStack } from '../support/stack.ts';

test('a Python subscriber reads every external event with the published contract alone', async () => {
  const interpreter = await python();
  await using stack = await startStack();
  const running = await stack.running();
  const traces = await playStory(running, () => undefined);
  await expectInvariants(running);
  const document = join(import.meta.dirname, '../../services/member/contract/asyncapi.json');
  const script = join(import.meta.dirname, 'foreign-subscriber.py');
  const { stdout } = await promisify(execFile)(interpreter, [script, running.brokerUrl, document], {
    timeout: 60_000,
  });
  const expected: Record<string, number> = {};
  for (const { type } of traces) if (type.startsWith('member.')) expected[type] = (expected[type] ?? 0) + 1;
  expect(JSON.parse(stdout)).toEqual(expected);
}, 500_000);
