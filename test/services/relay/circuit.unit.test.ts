import { Circuit } from '../../../services/relay/circuit.ts';

const message = (orderingKey: string) => ({ orderingKey });
const wave = ['a', 'b', 'c'].map(message);

/** A circuit and a clock to turn. */
function open(...refused: string[]): { circuit: Circuit; clock: { ms: number } } {
  const clock = { ms: 1000 };
  const circuit = new Circuit({ minMs: 200, maxMs: 30_000 }, () => clock.ms);
  circuit.open('refused', refused);
  return { circuit, clock };
}

test('closed, it lets whole waves through', () => {
  expect(new Circuit().admit(wave)).toEqual(wave);
});

test('open, it lets nothing through until a probe is due, and then one message', () => {
  const { circuit, clock } = open('a', 'b');
  expect(circuit.admit(wave)).toEqual([]);
  clock.ms += 200;
  expect(circuit.admit(wave)).toEqual([message('c')]);
});

test('probes go round the keys', () => {
  const { circuit, clock } = open();
  const probes = Array.from({ length: 6 }, () => {
    clock.ms += 60_000;
    const [probe] = circuit.admit(wave);
    circuit.open('refused', [probe!.orderingKey]);
    return probe!.orderingKey;
  });
  expect(probes).toEqual(['a', 'b', 'c', 'a', 'b', 'c']);
});

test('probes go round the keys, too, when it is daprd that fails', () => {
  const { circuit, clock } = open();
  const probes = Array.from({ length: 4 }, () => {
    clock.ms += 60_000;
    const [probe] = circuit.admit(wave);
    circuit.open('unexpected-answer', [probe!.orderingKey]);
    return probe!.orderingKey;
  });
  expect(probes).toEqual(['a', 'b', 'c', 'a']);
});

test('once daprd cannot be asked either, the pause holds for every key', () => {
  const { circuit } = open('a');
  expect(circuit.admit(wave)).toEqual([message('b')]);
  circuit.open('time-out', ['b']);
  expect(circuit.isShut).toBe(true);
  expect(circuit.admit(wave)).toEqual([]);
});

test('that a single key was refused keeps no other waiting', () => {
  const { circuit } = open('a');
  expect(circuit.isShut).toBe(false);
  expect(circuit.admit([message('a')])).toEqual([]);
  expect(circuit.admit(wave)).toEqual([message('b')]);
});

test('the pause is doubled with each failure, from 0.2 s to 30 s, with jitter', () => {
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

test('it is news when it opens, when the cause changes and when it closes, and else not', () => {
  const circuit = new Circuit();
  expect([circuit.open('refused'), circuit.open('refused'), circuit.open('unreachable')]).toEqual([true, false, true]);
  expect([circuit.close(), circuit.close()]).toEqual([true, false]);
});
