import { ConsumerCircuit } from '../../../../lib/eventing/inbox/consumer-circuit.ts';

let clock: number;
let circuit: ConsumerCircuit;
beforeEach(() => {
  clock = 1_000;
  circuit = new ConsumerCircuit(() => clock);
});

const bug = new Error('a bug');
const outage = Object.assign(new Error('no answer'), { outage: true });
const fail = (aggregateId: string) => circuit.failed(bug, aggregateId, false);
const probe = () => circuit.failed(outage, 'a', true);

describe('A consumer', () => {
  test('fails for all once three aggregates have failed in a row', () => {
    expect([fail('a'), fail('b')]).toEqual([{ isSystemic: false }, { isSystemic: false }]);
    expect(fail('c')).toEqual({ isSystemic: true, news: 'the consumer fails' });
    expect(fail('d')).toEqual({ isSystemic: true });
    expect([circuit.isFailing, circuit.isOpen]).toEqual([true, false]);
    expect(circuit.succeeded()).toBe(true);
    expect(fail('e')).toEqual({ isSystemic: false });
  });

  test('that fails for all again within a minute is reported once, and so is its recovery', () => {
    const failForAll = () => ['a', 'b', 'c'].map(fail).at(-1);
    expect(failForAll()).toMatchObject({ news: 'the consumer fails' });
    expect(circuit.succeeded()).toBe(true);
    clock += 59_000;
    expect(failForAll()).toEqual({ isSystemic: true });
    expect(circuit.succeeded()).toBe(false);
    expect(probe()).toMatchObject({ news: 'a dependency is unavailable' });
    clock += 1_000;
    expect(failForAll()).toMatchObject({ news: 'the consumer fails' });
  });

  test('that goes on failing is reported when the minute is over', () => {
    const failForAll = () => ['a', 'b', 'c'].map(fail).at(-1);
    failForAll();
    circuit.succeeded();
    clock += 10_000;
    expect([failForAll()!.news, fail('d').news]).toEqual([undefined, undefined]);
    clock += 50_000;
    expect([fail('e').news, fail('f').news]).toEqual(['the consumer fails', undefined]);
    expect(circuit.succeeded()).toBe(true);
  });

  test('does not fail for all while a success comes between, or while only two aggregates fail', () => {
    for (const aggregateId of ['a', 'b', 'a', 'b', 'b']) fail(aggregateId);
    expect(circuit.succeeded()).toBe(false);
    for (const aggregateId of ['c', 'd']) fail(aggregateId);
    expect(circuit.isFailing).toBe(false);
  });

  test.each([
    ['conflicts of concurrent changes', Object.assign(new Error('changed'), { name: 'OptimisticLockError' })],
    ['deadlocks', Object.assign(new Error('deadlock detected'), { code: '40P01' })],
    ['an unreachable database', Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })],
  ])('does not fail for all because of %s', (_, error) => {
    for (const aggregateId of ['a', 'b', 'c', 'd'])
      expect(circuit.failed(new Error('driver', { cause: error }), aggregateId, false)).toEqual({ isSystemic: false });
  });
});

describe('A circuit', () => {
  test('opens with the first outage of a dependency', () => {
    expect(circuit.failed(outage, 'a', false)).toEqual({ isSystemic: true, news: 'a dependency is unavailable' });
    expect([circuit.isOpen, circuit.cause]).toEqual([true, outage]);
  });

  test('is probed at once, then ever more rarely, at least every seven seconds', () => {
    probe();
    expect(circuit.waitMs).toBe(0);
    const waits = Array.from({ length: 30 }, () => {
      expect(probe()).toEqual({ isSystemic: true });
      const { waitMs } = circuit;
      clock += waitMs;
      expect(circuit.waitMs).toBe(0);
      return waitMs;
    });
    expect(waits[0]).toBeLessThan(400);
    expect(waits[29]).toBeGreaterThan(3_000);
    expect(Math.max(...waits)).toBeLessThan(7_000);
  });

  test('is probed at once, however many events were being handled when it opened', () => {
    for (let i = 0; i < 20; i++) circuit.failed(outage, 'a', false);
    expect(circuit.waitMs).toBe(0);
  });

  test('closes with the first success, or when a probe fails for another reason', () => {
    probe();
    expect(circuit.succeeded()).toBe(true);
    expect([circuit.isOpen, circuit.cause, circuit.waitMs]).toEqual([false, undefined, 0]);
    probe();
    circuit.failed(bug, 'a', false);
    expect(circuit.isOpen).toBe(true);
    circuit.failed(bug, 'a', true);
    expect(circuit.isOpen).toBe(false);
  });
});
