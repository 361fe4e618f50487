import { type FamilyAccountApi, newToken, OPERATOR, startFamilyAccountApi } from './api.ts';

let api: FamilyAccountApi;
beforeAll(async () => {
  api = await startFamilyAccountApi(undefined, { trustProxy: true });
});
afterAll(() => api[Symbol.asyncDispose]());

const list = (token: string, from: string) =>
  fetch(`${api.url}/v1/family-accounts`, {
    headers: { authorization: `Bearer ${token}`, 'x-forwarded-for': from },
  });
const statusOf = async (token: string, from: string) => {
  const response = await list(token, from);
  await response.arrayBuffer();
  return response.status;
};

test('A thousand made-up tokens cause about forty lookups and block no known session', async () => {
  const { token } = api.createMember();
  expect(await statusOf(token, '203.0.113.1')).toBe(200);
  const before = api.system.member.sessionRequests.length;
  const counts: Record<number, number> = {};
  for (let i = 0; i < 20; i++) {
    const statuses = await Promise.all(Array.from({ length: 50 }, () => statusOf(newToken(), '203.0.113.1')));
    for (const status of statuses) counts[status] = (counts[status] ?? 0) + 1;
    expect(await statusOf(token, '203.0.113.1')).toBe(200);
    expect(await statusOf(api.createMember().token, `198.51.100.${i}`)).toBe(200);
    expect(await statusOf(OPERATOR, '203.0.113.1')).toBe(401);
  }
  // Forty that were rejected, plus those in progress when the fortieth was.
  expect(counts[401]).toBeLessThan(60);
  expect(counts[401]! + counts[429]! + (counts[503] ?? 0)).toBe(1_000);
  const known = new Set(api.system.member.sessions.keys());
  const lookups = api.system.member.sessionRequests.slice(before).filter((it) => !known.has(it));
  expect(lookups).toHaveLength(counts[401]!);
  const refused = await list(newToken(), '203.0.113.1');
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(await refused.json()).toMatchObject({ slug: 'too-many-attempts' });
});

test('A malformed token is rejected without asking the member system', async () => {
  const before = api.system.member.sessionRequests.length;
  for (let i = 0; i < 100; i++) expect(await statusOf(`${newToken()}x`, '203.0.113.2')).toBe(401);
  expect(api.system.member.sessionRequests).toHaveLength(before);
});

test('A client that polls with an ended session counts once and does not block its network', async () => {
  const ended = newToken();
  for (let i = 0; i < 100; i++) expect(await statusOf(ended, '203.0.113.3')).toBe(401);
  expect(api.system.member.sessionRequests.filter((it) => it === ended)).toHaveLength(1);
  expect(await statusOf(api.createMember().token, '203.0.113.3')).toBe(200);
});

test('Many concurrent new sessions of one network are answered 200, or 503 with Retry-After 1', async () => {
  const tokens = Array.from({ length: 100 }, () => api.createMember().token);
  const answers = await Promise.all(tokens.map((token) => list(token, '203.0.113.4')));
  for (const { status, headers } of answers)
    expect([status, headers.get('retry-after')]).toEqual(status === 200 ? [200, null] : [503, '1']);
  for (const token of tokens) expect(await statusOf(token, '203.0.113.4')).toBe(200);
});
