import { LogInLimits } from '../../../../services/member/log-in-limits.ts';
import { limits, PASSWORD } from '../support.ts';
import { type MemberApi, problem, startMemberApi } from './api.ts';

let api: MemberApi;
beforeAll(async () => {
  api = await startMemberApi();
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => api.system.database.sql('delete from log_in_attempt'));

const device = { id: 'a phone', name: 'phone', os: 'any' };
const logIn = (email: string, password: string, key?: string) =>
  api.call('POST', '/v1/sessions', { body: { email, password, device }, key });
const times = <T>(count: number, work: (i: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, i) => work(i)));
const wrong = async () => false;
const attempt = (account: string, address: string, check = wrong) =>
  limits.guard(api.system.em(), { account, address }, check);
const tooMany = { slug: 'too-many-attempts', kind: 'too-many' };

test('whoever tries too many passwords has to wait, even with the right one, and is told how long', async () => {
  const { email } = await api.somebody();
  for (const { status } of await times(10, () => logIn(email, 'a wrong one'))) expect(status).toBe(401);
  const refused = await logIn(email, PASSWORD);
  expect(refused).toMatchObject(problem('too-many-attempts', 429));
  const seconds = Number(refused.headers.get('retry-after'));
  expect(seconds).toBeGreaterThan(800);
  expect(seconds).toBeLessThanOrEqual(900);
  expect(await logIn((await api.somebody()).email, PASSWORD)).toMatchObject({ status: 201 });
});

test('many tries at the same moment are all counted', async () => {
  const { email } = await api.somebody();
  const statuses = (await times(30, () => logIn(email, 'a wrong one'))).map(({ status }) => status);
  expect(statuses.filter((status) => status === 401)).toHaveLength(10);
  expect(statuses.filter((status) => status === 429)).toHaveLength(20);
});

test('an Idempotency-Key gives no further tries', async () => {
  const { email } = await api.somebody();
  for (let i = 0; i < 10; i++) await logIn(email, 'a wrong one', `a-key-of-this-test-${i}`);
  expect(await logIn(email, PASSWORD)).toMatchObject(problem('too-many-attempts', 429));
});

test('an address that nobody has registered is limited alike', async () => {
  await times(10, () => logIn('nobody@example.com', 'a wrong one'));
  expect(await logIn('nobody@example.com', 'a wrong one')).toMatchObject(problem('too-many-attempts', 429));
});

test('log-ins that succeed count for nothing, and forget the failures before them', async () => {
  const { email } = await api.somebody();
  await times(9, () => logIn(email, 'a wrong one'));
  expect(await logIn(email, PASSWORD)).toMatchObject({ status: 201 });
  await times(9, () => logIn(email, 'a wrong one'));
  expect(await logIn(email, PASSWORD)).toMatchObject({ status: 201 });
});

test('the current password cannot be guessed by way of changing it either', async () => {
  const { id, token } = await api.somebody();
  const change = (currentPassword: string) =>
    api.call('PUT', `/v1/members/${id}/password`, {
      token,
      body: { currentPassword, newPassword: 'another long one' },
    });
  await times(10, () => change('a wrong one'));
  expect(await change(PASSWORD)).toMatchObject(problem('too-many-attempts', 429));
});

test('a try that came to no end was none: a busy service locks nobody out', async () => {
  const busy = () => Promise.reject(new Error('too many are under way'));
  for (let i = 0; i < 20; i++) await expect(attempt('a', '192.0.2.1', busy)).rejects.toThrow('too many are under way');
  expect(await attempt('a', '192.0.2.1', async () => true)).toBe(true);
});

test('one address cannot lock an account for others', async () => {
  await times(11, () => attempt('a', '192.0.2.1').catch(() => undefined));
  await expect(attempt('a', '192.0.2.1')).rejects.toMatchObject(tooMany);
  await attempt('a', '192.0.2.2');
});

test('many addresses cannot try one account for ever, nor one address many accounts', async () => {
  await times(100, (i) => attempt('a', `192.0.2.${i}`));
  await expect(attempt('a', '198.51.100.1')).rejects.toMatchObject(tooMany);
  await times(300, (i) => attempt(`account ${i}`, '203.0.113.1'));
  await expect(attempt('another', '203.0.113.1')).rejects.toMatchObject(tooMany);
});

test('after a quarter of an hour everybody may try again, and the old counts go', async () => {
  await times(11, () => attempt('a', '192.0.2.1').catch(() => undefined));
  await api.system.database.sql(`update log_in_attempt set since = since - interval '16 minutes'`);
  await attempt('b', '192.0.2.2');
  await attempt('a', '192.0.2.1');
  const [row] = await api.system.database.sql<{ count: number }>('select count(*)::int from log_in_attempt');
  expect(row!.count).toBe(6);
});

test('the counts name nobody, and other keys make other names', async () => {
  await attempt('anna@example.com', '192.0.2.77');
  const who = { account: 'anna@example.com', address: '192.0.2.77' };
  await new LogInLimits(Buffer.alloc(32, 8)).guard(api.system.em(), who, wrong);
  const rows = await api.system.database.sql<{ who: Buffer; failures: number }>('select * from log_in_attempt');
  expect(rows.map(({ failures }) => failures)).toEqual([1, 1, 1, 1, 1, 1]);
  expect(JSON.stringify(rows)).not.toMatch(/anna|192\.0/);
  expect(new Set(rows.map(({ who }) => who.length))).toEqual(new Set([32]));
});
