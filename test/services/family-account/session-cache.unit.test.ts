import { cacheSessions } from '../../../services/family-account/session-cache.ts';

const session = { memberId: '0198d7a2-0000-7000-8000-000000000001', sessionNumber: '7' };

function cacheFixture({ most = 10, answer = async (): Promise<typeof session | undefined> => session } = {}) {
  const lookups: string[] = [];
  const wasLiveFlags: boolean[] = [];
  let now = 0;
  const lookUp = (token: string, { wasLive }: { wasLive: boolean }) => {
    lookups.push(token.slice(0, 1));
    wasLiveFlags.push(wasLive);
    return answer();
  };
  const cached = cacheSessions(lookUp, { most, now: () => now });
  // Tokens differ in their first characters only.
  const sessionOf = (token: string, ip = '192.0.2.1') => cached(token.padEnd(43, '-'), ip);
  return { lookups, wasLiveFlags, sessionOf, cached, pass: (ms: number) => (now += ms) };
}

test('a session is looked up once in two seconds', async () => {
  const { sessionOf, lookups, pass } = cacheFixture();
  await Promise.all([sessionOf('a'), sessionOf('a')]);
  pass(1_999);
  expect(await sessionOf('a')).toEqual(session);
  expect(lookups).toEqual(['a']);
  pass(1);
  await sessionOf('a');
  expect(lookups).toEqual(['a', 'a']);
});

test('the two seconds begin with the lookup, not with its answer', async () => {
  const { promise, resolve } = Promise.withResolvers<typeof session>();
  const { sessionOf, lookups, pass } = cacheFixture({ answer: () => promise });
  const first = sessionOf('a');
  pass(1_500);
  resolve(session);
  await first;
  pass(500);
  await sessionOf('a');
  expect(lookups).toEqual(['a', 'a']);
});

test('each session is looked up on its own', async () => {
  const { sessionOf, lookups } = cacheFixture();
  await sessionOf('a');
  await sessionOf('b');
  expect(lookups).toEqual(['a', 'b']);
});

test('a failed lookup is not cached', async () => {
  const answers = [async () => Promise.reject(new Error('unreachable')), async () => session];
  const { sessionOf, lookups } = cacheFixture({ answer: () => answers.shift()!() });
  await expect(sessionOf('a')).rejects.toThrow('unreachable');
  expect(await sessionOf('a')).toEqual(session);
  expect(lookups).toHaveLength(2);
});

test('an unknown token is looked up once a minute and counts once', async () => {
  const { sessionOf, lookups, pass } = cacheFixture({ answer: async () => undefined });
  for (let i = 0; i < 100; i++) expect(await sessionOf('a')).toBeUndefined();
  expect(lookups).toHaveLength(1);
  pass(60_000);
  await sessionOf('a');
  expect(lookups).toHaveLength(2);
});

test('the session looked up longest ago is evicted beyond the limit', async () => {
  const { sessionOf, lookups, pass } = cacheFixture({ most: 2 });
  await sessionOf('a');
  await sessionOf('b');
  pass(2_000);
  await sessionOf('a');
  await sessionOf('c');
  await sessionOf('a');
  await sessionOf('b');
  expect(lookups).toEqual(['a', 'b', 'a', 'c', 'b']);
});

test.each(['', 'short', 'x'.repeat(42), 'x'.repeat(44), `${'x'.repeat(42)}+`, `${'x'.repeat(43)}\n`])(
  'a malformed token is not looked up: %j',
  async (token) => {
    const { cached, lookups } = cacheFixture();
    expect(await cached(token, '192.0.2.1')).toBeUndefined();
    expect(lookups).toEqual([]);
  },
);

test('a live session is looked up as live, also after a failed lookup', async () => {
  const answers = [async () => session, async () => Promise.reject(new Error('unreachable')), async () => session];
  const { sessionOf, wasLiveFlags, pass } = cacheFixture({ answer: () => answers.shift()!() });
  await sessionOf('a');
  pass(2_000);
  await expect(sessionOf('a')).rejects.toThrow('unreachable');
  expect(await sessionOf('a')).toEqual(session);
  expect(wasLiveFlags).toEqual([false, true, true]);
});

describe('Unknown tokens', () => {
  const noSession = async () => undefined;
  const TOO_MANY = { slug: 'too-many-attempts', kind: 'too-many' };
  const flood = async (sessionOf: (token: string, ip: string) => Promise<unknown>, ip: string) => {
    let rejected = 0;
    for (let sent = 0; sent < 1_000; sent += 20) {
      const made = Array.from({ length: 20 }, (_, i) => sessionOf(`${sent + i}`, ip));
      rejected += (await Promise.allSettled(made)).filter(({ status }) => status === 'rejected').length;
    }
    return rejected;
  };

  test('are looked up twenty at a time per address; others are rejected as busy', async () => {
    const { sessionOf, lookups } = cacheFixture({ answer: noSession });
    const all = await Promise.allSettled(Array.from({ length: 100 }, (_, i) => sessionOf(`${i}`, '192.0.2.1')));
    const refused = all.flatMap((it) => (it.status === 'rejected' ? [it.reason] : []));
    expect([lookups.length, refused.length]).toEqual([20, 80]);
    for (const it of refused) expect(it).toMatchObject({ slug: 'busy', retryAfterSeconds: 1 });
  });

  test('are looked up forty times a minute per address', async () => {
    const { sessionOf, lookups, pass } = cacheFixture({ answer: noSession });
    expect(await flood(sessionOf, '192.0.2.1')).toBe(960);
    expect(lookups).toHaveLength(40);
    pass(59_000);
    await expect(sessionOf('a')).rejects.toMatchObject({ ...TOO_MANY, retryAfterSeconds: 1 });
    expect(await sessionOf('a', '192.0.2.2')).toBeUndefined();
    pass(1_000);
    expect(await sessionOf('a')).toBeUndefined();
  });

  test.each([
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff::9', true],
    ['2001:db8::1', '2001:db8::ffff:0:0:2', true],
    ['::1', '::2', true],
    ['2001:db8:1:2::1', '2001:db8:1:3::1', false],
    ['1:2::4:5:6:7:8', '1:2::5:5:6:7:8', false],
  ])('sent by %s and %s share a network limit: %s', async (one, other, isOne) => {
    const { sessionOf } = cacheFixture({ answer: noSession });
    await flood(sessionOf, one);
    const outcome = expect(sessionOf('a', other));
    await (isOne ? outcome.rejects.toMatchObject(TOO_MANY) : outcome.resolves.toBeUndefined());
  });

  test('do not block a cached session of the same address', async () => {
    let answer = async (): Promise<typeof session | undefined> => session;
    const { sessionOf, lookups, pass } = cacheFixture({ most: 50, answer: () => answer() });
    await sessionOf('a');
    answer = noSession;
    await flood(sessionOf, '192.0.2.1');
    answer = async () => session;
    pass(2_000);
    expect(await sessionOf('a')).toEqual(session);
    expect(lookups).toHaveLength(42);
  });

  test('include neither failed lookups nor known sessions', async () => {
    const answers = [async () => Promise.reject(new Error('unreachable')), async () => session];
    let count = 0;
    const { sessionOf } = cacheFixture({ most: 1, answer: () => answers[count++ % 2]!() });
    for (let i = 0; i < 50; i++) {
      await expect(sessionOf('a')).rejects.toThrow('unreachable');
      expect(await sessionOf('b')).toEqual(session);
      await expect(sessionOf('c')).rejects.toThrow('unreachable');
      expect(await sessionOf('d')).toEqual(session);
    }
  });
});
