import { Circuit } from '../../../services/relay/circuit.ts';

const message = (orderingKey: string) => ({ orderingKey });
const ready = ['a', 'b', 'c'].map(message);

/** Returns an open circuit and the clock that it uses. */
function open(...refused: string[]): { circuit: Circuit; clock: { ms: number } } {
  const clock = { ms: 1000 };
  const circuit = new Circuit({ minMs: 200, maxMs: 30_000 }, () => clock.ms);
  circuit.open('refused', refused);
  return { circuit, clock };
}

test('a closed circuit admits all messages', () => {
  expect(new Circuit().admit(ready)).toEqual(ready);
});

test('an open circuit admits nothing until a probe is due, then one message', () => {
  const { circuit, clock } = open('a', 'b');
  expect(circuit.admit(ready)).toEqual([]);
  clock.ms += 200;
  expect(circuit.admit(ready)).toEqual([message('c')]);
});

test('probes rotate through the keys', () => {
  const { circuit, clock } = open();
  const probes = Array.from({ length: 6 }, () => {
    clock.ms += 60_000;
    const [probe] = circuit.admit(ready);
    circuit.open('refused', [probe!.orderingKey]);
    return probe!.orderingKey;
  });
  expect(probes).toEqual(['a', 'b', 'c', 'a', 'b', 'c']);
});

test('probes rotate through the keys also when daprd fails', () => {
  const { circuit, clock } = open();
  const probes = Array.from({ length: 4 }, () => {
    clock.ms += 60_000;
    const [probe] = circuit.admit(ready);
    circuit.open('unexpected-answer', [probe!.orderingKey]);
    return probe!.orderingKey;
  });
  expect(probes).toEqual(['a', 'b', 'c', 'a']);
});

test('the pause holds for every key once daprd does not answer either', () => {
  const { circuit } = open('a');
  expect(circuit.admit(ready)).toEqual([message('b')]);
  circuit.open('time-out', ['b']);
  expect(circuit.isShut).toBe(true);
  expect(circuit.admit(ready)).toEqual([]);
});

test('a refused key does not delay other keys', () => {
  const { circuit } = open('a');
  expect(circuit.isShut).toBe(false);
  expect(circuit.admit([message('a')])).toEqual([]);
  expect(circuit.admit(ready)).toEqual([message('b')]);
});

test('the pause doubles with each failure, from 0.2 s to 30 s, with jitter', () => {
  const { circuit } = open();
  const pauses = Array.from({ length: 12 }, () => {
    const pause = circuit.waitMs;
    circuit.open('refused');
    return pause;
  });
  for (const [i, pause] of pauses.entries()) {
    const full = Math.min(30_000, 200 * 2 ** i);
    expect(pause).toBeGreaterThanOrEqual(full / 2);
    expect(pause).toBeLessThanOrEqual(full);
  }
});

test('open and close report a change when the state or the cause changes, and only then', () => {
  const circuit = new Circuit();
  expect([circuit.open('refused'), circuit.open('refused'), circuit.open('unreachable')]).toEqual([true, false, true]);
  expect([circuit.close(), circuit.close()]).toEqual([true, false]);
});
