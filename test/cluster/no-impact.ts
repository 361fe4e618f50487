import { setTimeout as delay } from 'node:timers/promises';
import type { Shell } from '../../k8s/shell.ts';
import { countAttempts, countRepeats, expectInvariants } from './invariants.ts';
import { type LoadOptions, underLoad } from './load.ts';

/** Makes a change under load, and checks that no request fails, the invariants hold and no attempt is spent. */
export async function expectNoImpactOf(
  shell: Shell,
  change: () => Promise<void>,
  options: LoadOptions = {},
): Promise<void> {
  const { namespace } = options;
  const [before, repeatsBefore] = [await countAttempts(shell, namespace), await countRepeats(shell, namespace)];
  const meanwhile = async () => {
    await delay(2_000);
    await change();
    await delay(2_000);
  };
  const { failures, ...outcome } = await underLoad(shell, meanwhile, options);
  // Each answer contains the id of its trace.
  const kinds = new Set(Object.keys(failures).map((what) => what.replace(/urn:trace:.*/, '')));
  expect({ kinds: [...kinds], count: Object.values(failures).length }).toEqual({ kinds: [], count: 0 });
  expect(outcome.rounds).toBeGreaterThan(20);
  await expectInvariants(shell, namespace);
  const repeated = (await countRepeats(shell, namespace)) - repeatsBefore;
  process.stdout.write(`${expect.getState().currentTestName}: ${JSON.stringify({ ...outcome, repeated })}\n`);
  expect(await countAttempts(shell, namespace)).toBe(before);
}
