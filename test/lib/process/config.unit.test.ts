import { z } from 'zod';
import { common } from '#process/common-settings';
import { ConfigError, configTable, readConfig } from '#process/config';
import { renamedVariables } from '#process/renamed';

const settings = {
  PORT: common.PORT,
  DATABASE_URL: common.DATABASE_URL,
  OPERATOR_TOKEN: common.OPERATOR_TOKEN,
  MASTER_KEY: common.MASTER_KEY,
  COLOUR: { schema: z.enum(['red', 'green']), doc: 'red | green' },
};

const good = {
  DATABASE_URL: 'postgres://app:hidden@localhost/member',
  OPERATOR_TOKEN: 'operator-token-of-this-test',
  MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
  COLOUR: 'red',
};

function errorOf(env: NodeJS.ProcessEnv): string {
  try {
    readConfig(settings, env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error('the environment was accepted');
}

test('settings are read with their types; defaults replace missing and empty values', () => {
  const config = readConfig(settings, { ...good, PORT: '' });
  expect(config.PORT).toBe(8080);
  expect(config.MASTER_KEY).toEqual([Buffer.alloc(32, 1)]);
  expect(config.COLOUR).toBe('red');
});

test('a master key may be given with its predecessor', () => {
  const two = [1, 2].map((byte) => Buffer.alloc(32, byte));
  const config = readConfig(settings, { ...good, MASTER_KEY: two.map((key) => key.toString('base64')).join(',') });
  expect(config.MASTER_KEY).toEqual(two);
  expect(errorOf({ ...good, MASTER_KEY: `${good.MASTER_KEY},` })).toContain('MASTER_KEY is wrong');
});

test('NATS_URL may list several servers', () => {
  const read = (NATS_URL: string) => readConfig({ NATS_URL: common.NATS_URL }, { NATS_URL }).NATS_URL;
  const two = 'nats://token@a:4222,tls://token@b:4222';
  expect(read(two)).toBe(two);
  for (const wrong of ['nats://a:4222,', 'nats://a:4222,b:4222', 'nats://a:4222,https://b'])
    expect(() => read(wrong)).toThrow('NATS_URL is wrong (not URLs that each begin with nats:// or tls://');
});

test('all invalid variables are reported at once, each with its description', () => {
  const message = errorOf({ PORT: '80x', COLOUR: 'blue', MASTER_KEY: good.MASTER_KEY });
  expect(message).toMatch(/^4 settings are missing or wrong/);
  expect(message).toContain('PORT "80x" is wrong (not a whole number): port of the public API');
  expect(message).toContain('DATABASE_URL is not set: PostgreSQL');
  expect(message).toContain('OPERATOR_TOKEN is not set');
  expect(message).toContain('COLOUR "blue" is wrong');
});

test.each([
  ['DATABASE_URL', 'mysql://app:hunter2hunter2@localhost/x'],
  ['OPERATOR_TOKEN', 'hunter2hunter2 with spaces'],
  ['OPERATOR_TOKEN', 'hunter2'],
  ['MASTER_KEY', Buffer.from('hunter2').toString('base64')],
  ['MASTER_KEY', 'hunter2!'],
])('the value of the secret %s is not printed', (name, value) => {
  const message = errorOf({ ...good, [name]: value });
  expect(message).toContain(`${name} is wrong`);
  expect(message).not.toContain(value);
  expect(message).not.toContain('hunter2');
});

test.each(['-1', '65536', '1e3', ' 80', '0x50', '99999999999999999999'])('%j is not a port', (PORT) => {
  expect(errorOf({ ...good, PORT })).toContain('PORT');
});

test.each(['nats', 'nats:', 'nats:0', 'nats:65536', 'a:1, b:2', 'nats:4222x'])(
  '%j is not a broker address',
  (BROKER_ADDRESS) => {
    const only = { BROKER_ADDRESS: common.BROKER_ADDRESS };
    expect(() => readConfig(only, { BROKER_ADDRESS })).toThrow('BROKER_ADDRESS');
  },
);

test.each(Object.entries(renamedVariables))('the renamed variable %s is refused, naming %s', (old, name) => {
  const both = { [name]: { schema: z.string(), doc: 'any', default: '' } };
  expect(() => readConfig(both, { [old]: '5' })).toThrow(`${old} has been renamed: set ${name} instead`);
  expect(() => readConfig({}, { [old]: '5' })).not.toThrow();
  expect(common).toHaveProperty(name);
});

test('the configuration table lists each setting and marks the secrets', () => {
  const table = configTable(settings);
  expect(table).toContain('| `PORT` | `8080` | port of the public API; 0 takes a free one |');
  expect(table).toContain('| `OPERATOR_TOKEN` | required | bearer credential of operators (secret) |');
  expect(table).toContain('red \\| green');
});
