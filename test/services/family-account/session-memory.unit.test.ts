import { rememberSessions } from '../../../services/family-account/session-memory.ts';

const session = { memberId: '0198d7a2-0000-7000-8000-000000000001', sessionNumber: '7' };

function memory({ most = 10, answer = async (): Promise<typeof session | undefined> => session } = {}) {
  const asked: string[] = [];
  let now = 0;
  const ask = (token: string) => {
    asked.push(token);
    return answer();
  };
  return { asked, sessionOf: rememberSessions(ask, { most, now: () => now }), pass: (ms: number) => (now += ms) };
}

test('a session is asked about once in two seconds', async () => {
  const { sessionOf, asked, pass } = memory();
  await Promise.all([sessionOf('a'), sessionOf('a')]);
  pass(1_999);
  expect(await sessionOf('a')).toEqual(session);
  expect(asked).toEqual(['a']);
  pass(1);
  await sessionOf('a');
  expect(asked).toEqual(['a', 'a']);
});

test('the two seconds begin with the question, not with the answer', async () => {
  const { promise, resolve } = Promise.withResolvers<typeof session>();
  const { sessionOf, asked, pass } = memory({ answer: () => promise });
  const first = sessionOf('a');
  pass(1_500);
  resolve(session);
  await first;
  pass(500);
  await sessionOf('a');
  expect(asked).toEqual(['a', 'a']);
});

test('one session is not another', async () => {
  const { sessionOf, asked } = memory();
  await sessionOf('a');
  await sessionOf('b');
  expect(asked).toEqual(['a', 'b']);
});

test('neither ended sessions nor failures are remembered', async () => {
  const answers = [async () => undefined, async () => Promise.reject(new Error('away')), async () => session];
  const { sessionOf, asked } = memory({ answer: () => answers.shift()!() });
  expect(await sessionOf('a')).toBeUndefined();
  await expect(sessionOf('a')).rejects.toThrow('away');
  expect(await sessionOf('a')).toEqual(session);
  expect(asked).toHaveLength(3);
});

test('beyond the limit the one asked about longest ago is forgotten', async () => {
  const { sessionOf, asked, pass } = memory({ most: 2 });
  await sessionOf('a');
  await sessionOf('b');
  pass(2_000);
  await sessionOf('a');
  await sessionOf('c');
  await sessionOf('a');
  await sessionOf('b');
  expect(asked).toEqual(['a', 'b', 'a', 'c', 'b']);
});
