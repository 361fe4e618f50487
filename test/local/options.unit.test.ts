import { dataDirectory, readOptions } from '../../local/options.ts';

test('the default options play the story once and keep the system up at its usual ports', () => {
  expect(readOptions([])).toEqual({
    fresh: false,
    once: false,
    story: true,
    replicas: 1,
    dataDir: dataDirectory(),
    usualPorts: true,
    help: false,
  });
});

test('every flag sets its option', () => {
  const options = readOptions(['--fresh', '--once', '--no-story', '--replicas', '2', '--data', '/somewhere']);
  expect(options).toMatchObject({ fresh: true, once: true, story: false, replicas: 2, dataDir: '/somewhere' });
  expect(options.usualPorts).toBe(false);
});

test.each([
  [['--frsh'], "Unknown option '--frsh'"],
  [['fresh'], "Unexpected argument 'fresh'"],
  [['--replicas', '0'], "--replicas takes a number from 1 to 9, not '0'"],
  [['--replicas', 'two'], "not 'two'"],
  [['--data'], "Option '--data <value>' argument missing"],
])('the arguments %j are refused', (args, message) => {
  expect(() => readOptions(args)).toThrow(message);
});

test('a flag that npm consumed, because -- was missing, is reported', () => {
  process.env.npm_config_once = 'true';
  try {
    expect(() => readOptions([])).toThrow('npm start -- --once');
  } finally {
    delete process.env.npm_config_once;
  }
});
