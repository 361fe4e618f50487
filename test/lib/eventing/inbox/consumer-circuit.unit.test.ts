import { ConsumerCircuit } from '../../../../lib/eventing/inbox/consumer-circuit.ts';

let clock: number;
let circuit: ConsumerCircuit;
beforeEach(() => {
  clock = 1_000;
  circuit = new ConsumerCircuit(() => clock);
});

const error = new Error('a bug');
const fail = (aggregateId: string, isOutage = false) => circuit.failed({ error, aggregateId, isOutage });

test('opens when three aggregates have failed in a row', () => {
  expect([fail('a'), fail('b')]).toEqual([false, false]);
  expect(circuit.isOpen).toBe(false);
  expect(fail('c')).toBe(true);
  expect([circuit.isOpen, circuit.cause]).toEqual([true, error]);
});

test('stays closed while a success comes between, or one aggregate fails again and again', () => {
  for (const aggregateId of ['a', 'b', 'a', 'b', 'b']) fail(aggregateId);
  expect(circuit.succeeded()).toBe(false);
  for (const aggregateId of ['c', 'd']) fail(aggregateId);
  expect(circuit.isOpen).toBe(false);
});

test('opens with the first outage of a dependency', () => {
  expect(fail('a', true)).toBe(true);
});

test('is probed at once, then ever more rarely, at least every six seconds', () => {
  fail('a', true);
  expect(circuit.waitMs).toBe(0);
  const waits = Array.from({ length: 30 }, () => {
    expect(fail('a', true)).toBe(false);
    const { waitMs } = circuit;
    clock += waitMs;
    expect(circuit.waitMs).toBe(0);
    return waitMs;
  });
  expect(waits[0]).toBeLessThan(400);
  expect(waits[29]).toBeGreaterThan(3_000);
  expect(Math.max(...waits)).toBeLessThan(6_300);
});

test('closes with the first success', () => {
  fail('a', true);
  fail('a', true);
  expect(circuit.succeeded()).toBe(true);
  expect([circuit.isOpen, circuit.cause, circuit.waitMs]).toEqual([false, undefined, 0]);
  expect(fail('b')).toBe(false);
});
