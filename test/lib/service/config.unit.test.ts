import { z } from 'zod';
import { ConfigError, common, configTable, readConfig } from '#service/config';

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

test('settings are read with their types, and defaults stand in for what is not set or empty', () => {
  const config = readConfig(settings, { ...good, PORT: '' });
  expect(config.PORT).toBe(8080);
  expect(config.MASTER_KEY).toEqual([Buffer.alloc(32, 1)]);
  expect(config.COLOUR).toBe('red');
});

test('a master key may come with the one that it follows', () => {
  const two = [1, 2].map((byte) => Buffer.alloc(32, byte));
  const config = readConfig(settings, { ...good, MASTER_KEY: two.map((key) => key.toString('base64')).join(',') });
  expect(config.MASTER_KEY).toEqual(two);
  expect(errorOf({ ...good, MASTER_KEY: `${good.MASTER_KEY},` })).toContain('MASTER_KEY is wrong');
});

test('NATS may be several servers, as sidecars take them', () => {
  const read = (NATS_URL: string) => readConfig({ NATS_URL: common.NATS_URL }, { NATS_URL }).NATS_URL;
  const two = 'nats://token@a:4222,tls://token@b:4222';
  expect(read(two)).toBe(two);
  for (const wrong of ['nats://a:4222,', 'nats://a:4222,b:4222', 'nats://a:4222,https://b'])
    expect(() => read(wrong)).toThrow('NATS_URL is wrong (not URLs that each begin with nats:// or tls://');
});

test('every bad variable is reported at once, each with what it is for', () => {
  const message = errorOf({ PORT: '80x', COLOUR: 'blue', MASTER_KEY: good.MASTER_KEY });
  expect(message).toMatch(/^4 settings are missing or wrong/);
  expect(message).toContain('PORT "80x" is wrong (not a whole number): port that HTTP is served on');
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

test.each(['-1', '65536', '1e3', ' 80', '0x50', '99999999999999999999'])('%j is no port', (PORT) => {
  expect(errorOf({ ...good, PORT })).toContain('PORT');
});

test('the table for the README lists each setting, and marks the secrets', () => {
  const table = configTable(settings);
  expect(table).toContain('| `PORT` | `8080` | port that HTTP is served on; 0 takes a free one |');
  expect(table).toContain('| `OPERATOR_TOKEN` | required | bearer credential of operators (secret) |');
  expect(table).toContain('red \\| green');
});
