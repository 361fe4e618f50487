import { Client } from 'pg';
import { routes } from '../../../../services/member/http/routes.ts';
import { LoginThrottle } from '../../../../services/member/login-throttle.ts';
import { eventually } from '../../../support/eventually.ts';
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

test('too many wrong passwords cause 429 with Retry-After, even for the right password', async () => {
  const { email } = await api.createMember();
  for (const { status } of await times(10, () => logIn(email, 'a wrong one'))) expect(status).toBe(401);
  const refused = await logIn(email, PASSWORD);
  expect(refused).toMatchObject(problem('too-many-attempts', 429));
  const seconds = Number(refused.headers.get('retry-after'));
  expect(seconds).toBeGreaterThan(800);
  expect(seconds).toBeLessThanOrEqual(900);
  expect(await logIn((await api.createMember()).email, PASSWORD)).toMatchObject({ status: 201 });
});

test('concurrent login attempts are all counted', async () => {
  const { email } = await api.createMember();
  const statuses = (await times(30, () => logIn(email, 'a wrong one'))).map(({ status }) => status);
  expect(statuses.filter((status) => status === 401)).toHaveLength(10);
  expect(statuses.filter((status) => status === 429)).toHaveLength(20);
});

test('the count of a right password is taken back in the order in which attempts are counted', async () => {
  // In the opposite order the two would deadlock: one of them would be answered 503.
  const other = new Client({ connectionString: api.system.database.urls.owner });
  await other.connect();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => other.end());
  const add = (who: Buffer) => other.query('update log_in_attempt set failures = failures + 1 where who = $1', [who]);
  let counted: Buffer[] = [];
  // Now the counts of the account and of the address are higher than the one of both.
  await attempt('anna@example.com', '192.0.2.2');
  await attempt('ben@example.com', '192.0.2.1');
  const right = attempt('anna@example.com', '192.0.2.1', async () => {
    const { rows } = await other.query<{ who: Buffer }>(
      'select who from log_in_attempt where failures > 1 order by who',
    );
    counted = rows.map(({ who }) => who);
    // Its new version is behind the others, where a scan of the table comes last.
    await add(counted[0]!);
    await other.query('begin');
    await add(counted[0]!);
    return true;
  });
  const isWaiting = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
  await eventually(async () => expect(await api.system.database.sql(isWaiting)).toHaveLength(1));
  for (const who of counted.slice(1)) await add(who);
  await other.query('commit');
  expect(await right).toBe(true);
});

test('an Idempotency-Key allows no additional login attempts', async () => {
  const { email } = await api.createMember();
  for (let i = 0; i < 10; i++) await logIn(email, 'a wrong one', `a-key-of-this-test-${i}`);
  expect(await logIn(email, PASSWORD)).toMatchObject(problem('too-many-attempts', 429));
});

describe.each<[string, (email: string, password: string, key: string) => ReturnType<MemberApi['call']>]>([
  ['login', logIn],
  [
    'registration',
    (email, password, key) => api.call('POST', '/v1/members', { body: { email, password, name: 'Anna' }, key }),
  ],
])('A known Idempotency-Key of a %s', (kind, send) => {
  let count = 0;
  async function keyed() {
    const key = `a-known-key-of-a-${kind}-${count++}`;
    const email = kind === 'login' ? (await api.createMember()).email : `${key}@example.com`;
    expect(await send(email, PASSWORD, key)).toMatchObject({ status: 201 });
    return { key, email };
  }

  test('allows ten password guesses, then answers 429, also to the right password', async () => {
    const { key, email } = await keyed();
    // Sequential, since more than five concurrent requests are refused as busy.
    const statuses: number[] = [];
    for (let i = 0; i < 30; i++) statuses.push((await send(email, `a wrong one ${i}`, key)).status);
    expect(statuses).toEqual([...Array(10).fill(422), ...Array(20).fill(429)]);
    expect(await send(email, PASSWORD, key)).toMatchObject(problem('too-many-attempts', 429));
    expect(await logIn(email, PASSWORD)).toMatchObject(problem('too-many-attempts', 429));
  });

  test('allows any number of correct repeats, each resetting the count of wrong guesses', async () => {
    const { key, email } = await keyed();
    const { body } = await send(email, PASSWORD, key);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 9; i++)
        expect(await send(email, 'a wrong one', key)).toMatchObject(problem('idempotency-key-reused', 422));
      expect(await send(email, PASSWORD, key)).toMatchObject({ status: 201, body });
    }
    for (let i = 0; i < 20; i++) expect(await send(email, PASSWORD, key)).toMatchObject({ status: 201, body });
  });
});

test('every anonymous route with an Idempotency-Key and a password limits guesses', () => {
  const open = routes({} as never).filter(({ access, idempotent }) => idempotent && access.includes('anyone'));
  expect(open.map(({ path }) => path)).toEqual(['/v1/members', '/v1/sessions']);
  for (const { guardRepeat } of open) expect(guardRepeat).toBeDefined();
});

test('an unregistered e-mail address is limited like a registered one', async () => {
  await times(10, () => logIn('nobody@example.com', 'a wrong one'));
  expect(await logIn('nobody@example.com', 'a wrong one')).toMatchObject(problem('too-many-attempts', 429));
});

test('a successful login is not counted and resets the failures before it', async () => {
  const { email } = await api.createMember();
  await times(9, () => logIn(email, 'a wrong one'));
  expect(await logIn(email, PASSWORD)).toMatchObject({ status: 201 });
  await times(9, () => logIn(email, 'a wrong one'));
  expect(await logIn(email, PASSWORD)).toMatchObject({ status: 201 });
});

test('password changes limit guesses at the current password', async () => {
  const { id, token } = await api.createMember();
  const change = (currentPassword: string) =>
    api.call('PUT', `/v1/members/${id}/password`, {
      token,
      body: { currentPassword, newPassword: 'another long one' },
    });
  await times(10, () => change('a wrong one'));
  expect(await change(PASSWORD)).toMatchObject(problem('too-many-attempts', 429));
});

test('an attempt that fails because the service is busy is not counted', async () => {
  const busy = () => Promise.reject(new Error('too many in progress'));
  for (let i = 0; i < 20; i++) await expect(attempt('a', '192.0.2.1', busy)).rejects.toThrow('too many in progress');
  expect(await attempt('a', '192.0.2.1', async () => true)).toBe(true);
});

test('one IP address cannot lock an account for other addresses', async () => {
  await times(11, () => attempt('a', '192.0.2.1').catch(() => undefined));
  await expect(attempt('a', '192.0.2.1')).rejects.toMatchObject(tooMany);
  await attempt('a', '192.0.2.2');
});

describe('Behind a proxy', () => {
  let proxied: MemberApi;
  beforeAll(async () => {
    proxied = await startMemberApi(undefined, { trustProxy: true });
  });
  afterAll(() => proxied[Symbol.asyncDispose]());
  const from = (forwarded: string, email: string, password: string) =>
    fetch(`${proxied.url}/v1/sessions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': forwarded },
      body: JSON.stringify({ email, password, device }),
    });

  test.each([
    ['IPv4 with a port', (i: number) => `203.0.113.66:${4000 + i}`, '198.51.100.7:4000'],
    ['IPv6 with a port', (i: number) => `[2001:DB8::${i % 2 ? '7' : '0:7'}]:${4000 + i}`, '[2001:db8::8]:4000'],
  ])('one IP address cannot lock an account for other addresses: %s', async (_, attacker, elsewhere) => {
    const { email } = await proxied.createMember();
    const statuses = [];
    for (let i = 0; i < 12; i++) statuses.push((await from(attacker(i), email, 'a wrong one')).status);
    expect(statuses).toEqual([...Array(10).fill(401), 429, 429]);
    expect((await from(elsewhere, email, PASSWORD)).status).toBe(201);
  });

  test('a login from an unreadable client address is rejected and not counted', async () => {
    const { email } = await proxied.createMember();
    const before = await proxied.system.database.sql('select * from log_in_attempt');
    for (let i = 0; i < 12; i++) expect((await from('unknown', email, PASSWORD)).status).toBe(400);
    expect(await proxied.system.database.sql('select * from log_in_attempt')).toEqual(before);
  });
});

test('attempts from many addresses on one account are limited, and from one on many accounts', async () => {
  await times(100, (i) => attempt('a', `192.0.2.${i}`));
  await expect(attempt('a', '198.51.100.1')).rejects.toMatchObject(tooMany);
  await times(300, (i) => attempt(`account ${i}`, '203.0.113.1'));
  await expect(attempt('another', '203.0.113.1')).rejects.toMatchObject(tooMany);
});

test('logins are allowed again after 15 minutes, and old counts are deleted', async () => {
  await times(11, () => attempt('a', '192.0.2.1').catch(() => undefined));
  await api.system.database.sql(`update log_in_attempt set since = since - interval '16 minutes'`);
  await attempt('b', '192.0.2.2');
  await attempt('a', '192.0.2.1');
  const [row] = await api.system.database.sql<{ count: number }>('select count(*)::int from log_in_attempt');
  expect(row!.count).toBe(6);
});

test('stored counts hold no personal data and depend on the secret key', async () => {
  await attempt('anna@example.com', '192.0.2.77');
  const who = { account: 'anna@example.com', address: '192.0.2.77' };
  await new LoginThrottle(Buffer.alloc(32, 8)).guard(api.system.em(), who, wrong);
  const rows = await api.system.database.sql<{ who: Buffer; failures: number }>('select * from log_in_attempt');
  expect(rows.map(({ failures }) => failures)).toEqual([1, 1, 1, 1, 1, 1]);
  expect(JSON.stringify(rows)).not.toMatch(/anna|192\.0/);
  expect(new Set(rows.map(({ who }) => who.length))).toEqual(new Set([32]));
});
