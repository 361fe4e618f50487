import { Suspects } from '../../../services/relay/suspects.ts';

const guilty = (suspects: Suspects, accepted: string[], failed: string[]) => [...suspects.judge(accepted, failed)];

test('a first failure is nobody’s fault yet, even when others went through', () => {
  expect(guilty(new Suspects(), ['a', 'b'], ['c'])).toEqual([]);
});

test('a message that fails again after others went through is to blame, each time', () => {
  const suspects = new Suspects();
  suspects.judge(['a'], ['poison']);
  suspects.judge(['b'], []);
  expect(guilty(suspects, ['c'], ['poison'])).toEqual(['poison']);
  suspects.judge(['d'], []);
  expect(guilty(suspects, [], ['poison'])).toEqual(['poison']);
});

test('an outage blames nobody: not at its begin, not in its course, not at its end', () => {
  const suspects = new Suspects();
  expect(guilty(suspects, ['a'], ['b', 'c'])).toEqual([]);
  for (const probe of ['b', 'c', 'b', 'c']) expect(guilty(suspects, [], [probe])).toEqual([]);
  expect(guilty(suspects, ['d'], [])).toEqual([]);
  expect(guilty(suspects, ['b', 'c'], [])).toEqual([]);
});

test('messages that fail together, no more going through, are not to blame, whatever happened before', () => {
  const suspects = new Suspects();
  suspects.judge(['a'], ['b', 'c']);
  suspects.judge(['d'], []);
  expect(guilty(suspects, [], ['b', 'c'])).toEqual([]);
  suspects.judge(['d'], []);
  expect(guilty(suspects, ['e', 'f'], ['b', 'c'])).toEqual([]);
  suspects.judge(['d'], []);
  expect(guilty(suspects, ['e', 'f', 'g'], ['b', 'c'])).toEqual(['b', 'c']);
});

test('a message that went through in between is a stranger again', () => {
  const suspects = new Suspects();
  suspects.judge(['a'], ['b']);
  suspects.judge(['b', 'c'], []);
  expect(guilty(suspects, ['d'], ['b'])).toEqual([]);
});

test('it does not remember for ever', () => {
  const suspects = new Suspects();
  suspects.judge(['a'], ['old']);
  suspects.judge(
    ['b'],
    Array.from({ length: 1000 }, (_, i) => `new-${i}`),
  );
  expect(guilty(suspects, ['c'], ['old'])).toEqual([]);
});
