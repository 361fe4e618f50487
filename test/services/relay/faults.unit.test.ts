import { pino } from 'pino';
import type { BulkResult } from '#eventing/dapr-publisher';
import { type Call, Faults } from '../../../services/relay/faults.ts';
import type { RelayOptions } from '../../../services/relay/options.ts';

const NONE: ReadonlySet<string> = new Set();
const message = (id: string) => ({ id, orderingKey: `key-${id}`, partition: 0, event: '{}' });

let faults: Faults;
beforeEach(() => {
  const options = { log: pino({ enabled: false }), backoff: { minMs: 60_000, maxMs: 3_600_000 } };
  faults = new Faults(
    'lamp',
    options as unknown as RelayOptions,
    () => undefined,
    () => undefined,
  );
});

/** Ends a call. @returns the ids of its messages that are held back, and of those that are poison */
function end(call: Call, accepted: string, refused: string): Promise<{ held: string[]; poison: string[] }> {
  const failed = new Map([...refused].map((id) => [id, 'refused']));
  const result: BulkResult = { accepted: new Set(accepted), failed, malformed: NONE };
  faults.end(call, accepted.length > 0);
  return faults.judge(call, [...accepted, ...refused].map(message), result).then((found) => ({
    held: found.map((it) => it.message.id),
    poison: found.filter(({ isPoison }) => isPoison).map((it) => it.message.id),
  }));
}
/** Makes a message a suspect: it failed, and others were accepted since. */
async function fail(id: string): Promise<void> {
  await end(faults.begin(), 'x', id);
  await end(faults.begin(), 'y', '');
}

test('an outage that begins while several calls are in flight makes no message poison', async () => {
  for (const id of 'abcd') await fail(id);
  const calls = [...'abcd'].map((id) => [id, faults.begin()] as const);
  const results = await Promise.all(calls.map(([id, call]) => end(call, '', id)));
  expect(results).toEqual(calls.map(() => ({ held: [], poison: [] })));
  expect(faults.circuit.isOpen).toBe(true);
});

test('a message that fails alone waits for the calls in flight, and is poison if they succeed', async () => {
  await fail('a');
  const [alone, other] = [faults.begin(), faults.begin()];
  const result = end(alone, '', 'a');
  await end(other, 'b', '');
  expect(await result).toEqual({ held: ['a'], poison: ['a'] });
  expect(faults.circuit.isOpen).toBe(false);
});

test('a message that fails beside a call that failed before it is not poison', async () => {
  await fail('a');
  const [alone, other] = [faults.begin(), faults.begin()];
  const judged = end(other, '', 'bc');
  expect(await end(alone, '', 'a')).toEqual({ held: [], poison: [] });
  expect(await judged).toEqual({ held: [], poison: [] });
});

test('messages that were accepted by calls older than a failure do not make it poison', async () => {
  const older = faults.begin();
  await end(faults.begin(), 'x', 'a');
  await end(older, 'y', '');
  expect(await end(faults.begin(), 'z', 'a')).toEqual({ held: ['a'], poison: [] });
  await end(faults.begin(), 'y', '');
  expect(await end(faults.begin(), 'z', 'a')).toEqual({ held: ['a'], poison: ['a'] });
});

test('calls that began before the circuit opened neither close it nor make the pause longer', async () => {
  const calls = Array.from({ length: 4 }, () => faults.begin());
  await end(calls[0]!, '', 'ab');
  const pause = faults.circuit.waitMs;
  await end(calls[1]!, '', 'cd');
  await end(calls[2]!, 'e', '');
  expect(faults.circuit.isOpen).toBe(true);
  expect(faults.circuit.waitMs).toBeLessThanOrEqual(pause);
  // Their keys were tried as well.
  expect(faults.circuit.admit([message('c')])).toEqual([]);
  expect(faults.isProbing).toBe(false);
  const probe = faults.begin();
  expect(faults.isProbing).toBe(true);
  await end(probe, 'f', '');
  expect(faults.circuit.isOpen).toBe(false);
});
