import { PoisonDetector } from '../../../services/relay/poison-detector.ts';

const poison = (detector: PoisonDetector, accepted: string[], failed: string[]) => [
  ...detector.findPoison(accepted, failed),
];

test('a first failure is not poison, even when others are accepted', () => {
  expect(poison(new PoisonDetector(), ['a', 'b'], ['c'])).toEqual([]);
});

test('a message that fails again after others were accepted is poison, each time', () => {
  const detector = new PoisonDetector();
  detector.findPoison(['a'], ['poison']);
  detector.findPoison(['b'], []);
  expect(poison(detector, ['c'], ['poison'])).toEqual(['poison']);
  detector.findPoison(['d'], []);
  expect(poison(detector, [], ['poison'])).toEqual(['poison']);
});

test('an outage makes no message poison at its beginning, during it or at its end', () => {
  const detector = new PoisonDetector();
  expect(poison(detector, ['a'], ['b', 'c'])).toEqual([]);
  for (const probe of ['b', 'c', 'b', 'c']) expect(poison(detector, [], [probe])).toEqual([]);
  expect(poison(detector, ['d'], [])).toEqual([]);
  expect(poison(detector, ['b', 'c'], [])).toEqual([]);
});

test('a probe is not poison in the next outage; it is if it fails again after that', () => {
  const detector = new PoisonDetector();
  detector.findPoison(['a'], ['b', 'c']);
  detector.findPoison(['d', 'e'], []);
  expect([...detector.findPoison([], ['b'], true)]).toEqual([]);
  detector.findPoison(['f'], [], true);
  expect(poison(detector, [], ['b'])).toEqual(['b']);
});

test('messages that fail together are poison only when more others are accepted', () => {
  const detector = new PoisonDetector();
  detector.findPoison(['a'], ['b', 'c']);
  detector.findPoison(['d'], []);
  expect(poison(detector, [], ['b', 'c'])).toEqual([]);
  detector.findPoison(['d'], []);
  expect(poison(detector, ['e', 'f'], ['b', 'c'])).toEqual([]);
  detector.findPoison(['d'], []);
  expect(poison(detector, ['e', 'f', 'g'], ['b', 'c'])).toEqual(['b', 'c']);
});

test('an accepted message’s earlier failure is forgotten', () => {
  const detector = new PoisonDetector();
  detector.findPoison(['a'], ['b']);
  detector.findPoison(['b', 'c'], []);
  expect(poison(detector, ['d'], ['b'])).toEqual([]);
});

test('old failures are forgotten beyond the limit', () => {
  const detector = new PoisonDetector();
  detector.findPoison(['a'], ['old']);
  detector.findPoison(
    ['b'],
    Array.from({ length: 1000 }, (_, i) => `new-${i}`),
  );
  expect(poison(detector, ['c'], ['old'])).toEqual([]);
});
