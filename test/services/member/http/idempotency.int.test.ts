import { Idempotency } from '#http/idempotency';
import { eventually } from '../../../support/eventually.ts';
import { masterKey, PASSWORD } from '../support.ts';
import { type MemberApi, problem, startMemberApi } from './api.ts';

let api: MemberApi;
beforeAll(async () => {
  api = await startMemberApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const device = { id: 'a phone', name: 'phone', os: 'any' };
const logIn = (email: string, key?: string) =>
  api.call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device }, key });

describe('A request with an Idempotency-Key', () => {
  let next = 0;
  const newKey = () => `a-key-of-this-test-${next++}-${'x'.repeat(16)}`;
  const person = () => ({ email: `p${next++}@example.com`, password: PASSWORD, name: 'Anna Idempotent' });
  const register = (body: object, key?: string) => api.call('POST', '/v1/members', { body, key });

  test('has one effect and always gets the same answer, even when repeated concurrently', async () => {
    const [key, body] = [newKey(), person()];
    const answers = await Promise.all(Array.from({ length: 5 }, () => register(body, key)));
    answers.push(await register(body, key), await register(body, `"${key}"`));
    const id = answers[0]!.body.id;
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 201, body: answers[0]!.body });
      expect(answer.headers.get('location')).toBe(`/v1/members/${id}`);
    }
    expect(answers.filter(({ headers }) => headers.get('idempotency-replayed') === 'true')).toHaveLength(6);
    expect(await api.system.eventTypesOf(id)).toEqual(['member.registered']);
  });

  test('opens one session when it logs in, and its repeat gets the same token', async () => {
    const { email } = await api.createMember();
    const key = newKey();
    const [first, second] = [await logIn(email, key), await logIn(email, key)];
    expect(second.body).toEqual(first.body);
    const { body } = await api.call('GET', '/v1/sessions', { token: first.body.token });
    expect(body.sessions).toHaveLength(2);
  });

  test('is rejected when its key belongs to a different request', async () => {
    const key = newKey();
    await register(person(), key);
    expect(await register(person(), key)).toMatchObject(problem('idempotency-key-reused', 422));
  });

  test('stores nothing when it fails, and can be retried', async () => {
    const [key, body] = [newKey(), person()];
    const { body: first } = await register(body);
    expect(await register(body, key)).toMatchObject(problem('email-taken', 409));
    expect(await register(body, key)).toMatchObject(problem('email-taken', 409));
    const { body: session } = await logIn(body.email);
    await api.call('DELETE', `/v1/members/${first.id}`, { token: session.token });
    expect(await register(body, key)).toMatchObject({ status: 201 });
  });

  test.each([
    ['empty', ''],
    ['too short', 'short'],
    ['too long', 'x'.repeat(256)],
    ['not free of spaces', 'with a space in its midst'],
    ['in unbalanced quotes', '"unbalanced-0123456789'],
  ])('is rejected when its key is %s', async (_, key) => {
    expect(await register(person(), key)).toMatchObject(problem('invalid-idempotency-key', 400));
  });

  test('counts as a new request after a day', async () => {
    const [key, body] = [newKey(), person()];
    await register(body, key);
    await api.system.database.sql(`update service.idempotency set created_at = created_at - interval '25 hours'`);
    expect(await register(body, key)).toMatchObject(problem('email-taken', 409));
    expect(await register(person(), newKey())).toMatchObject({ status: 201 });
    const [row] = await api.system.database.sql<{ count: number }>('select count(*)::int from service.idempotency');
    expect(row!.count).toBeLessThanOrEqual(2);
  });

  test('is stored encrypted: its answer can be decrypted only with its own key', async () => {
    const [key, body] = [newKey(), person()];
    await register(body, key);
    const rows = await api.system.database.sql<Record<string, unknown>>(
      `select encode(key_hash, 'escape') as a, encode(fingerprint, 'escape') as b, encode(answer, 'escape') as c from service.idempotency`,
    );
    expect(JSON.stringify(rows)).not.toMatch(/Anna|@example|a-key-of/);
    const work = () => Promise.reject(new Error('must not run again'));
    const request = JSON.stringify(['POST', '/v1/members', body]);
    const sameRequest = { key, requester: 'anyone', request };
    const { answer } = await new Idempotency(masterKey).once(api.system.em(), sameRequest, work);
    expect(JSON.parse(answer.text!)).toMatchObject({ email: body.email });
    const other = new Idempotency(Buffer.alloc(32, 8));
    await expect(other.once(api.system.em(), sameRequest, work)).rejects.toThrow('must not run again');
    const otherRequester = { ...sameRequest, requester: 'member:1' };
    await expect(new Idempotency(masterKey).once(api.system.em(), otherRequester, work)).rejects.toThrow('must not');
  });

  test('is deleted after a day, without further requests', async () => {
    const [key, body] = [newKey(), person()];
    await register(body, key);
    await api.system.database.sql(`update service.idempotency set created_at = now() - interval '25 hours'`);
    const warnings: string[] = [];
    const log = { warn: (_: object, message: string) => warnings.push(message) };
    using _ = new Idempotency(masterKey).startCleanup(api.system.em(), log, 20);
    await eventually(async () =>
      expect(await api.system.database.sql('select 1 from service.idempotency')).toEqual([]),
    );
    expect(warnings).toEqual([]);
  });

  test('is rejected as busy while five others are in progress', async () => {
    const idempotency = new Idempotency(masterKey);
    const { promise, resolve } = Promise.withResolvers<{ status: number; headers: object; text: null }>();
    const once = (n: number) =>
      idempotency.once(
        api.system.em(),
        { key: `${newKey()} ${n}`, requester: 'x', request: '' },
        () => promise as never,
      );
    const inProgress = [1, 2, 3, 4, 5].map(once);
    await expect(once(6)).rejects.toMatchObject({ slug: 'busy', retryAfterSeconds: 1 });
    resolve({ status: 204, headers: {}, text: null });
    await Promise.all(inProgress);
    await once(7);
  });
});
