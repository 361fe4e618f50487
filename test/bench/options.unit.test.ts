import { mainOptions, partArguments } from '../../bench/options.ts';

test('without options all parts run one round, without other products', () => {
  const options = mainOptions([]);
  expect(options).toMatchObject({ full: false, only: undefined, check: false, resume: false, rounds: 1 });
  expect(partArguments('write', options)).toEqual(['--rounds', '1']);
});

test('the full bench runs three rounds, and other products where they can take part', () => {
  const options = mainOptions(['--full', '--only', 'write']);
  expect(options).toMatchObject({ only: 'write', rounds: 3 });
  expect(partArguments('write', options)).toEqual(['--rounds', '3', '--peers']);
  expect(partArguments('consume', options)).toEqual(['--rounds', '3']);
});

test('an unknown part is refused with the known ones', () => {
  expect(() => mainOptions(['--only', 'read'])).toThrow('--only takes one of: write, relay, consume, path, peers');
});

test('an unknown option is refused', () => {
  expect(() => mainOptions(['--fast'])).toThrow('--fast');
});
