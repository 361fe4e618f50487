import type { EntityManager } from '@mikro-orm/postgresql';
import fc from 'fast-check';
import { endOtherSessionsOfMember } from '../../../../services/member/use-cases/end-other-sessions-of-member.ts';
import { endOtherSessionsOnDevice } from '../../../../services/member/use-cases/end-other-sessions-on-device.ts';
import { findLiveSession } from '../../../../services/member/use-cases/find-live-session.ts';
import { listSessions } from '../../../../services/member/use-cases/list-sessions.ts';
import { logIn } from '../../../../services/member/use-cases/log-in.ts';
import { logOut } from '../../../../services/member/use-cases/log-out.ts';
import { withdrawMember } from '../../../../services/member/use-cases/withdraw-member.ts';
import { limits, type MemberSystem, openMemberSystem, PASSWORD } from '../support.ts';

let system: MemberSystem;
beforeAll(async () => {
  system = await openMemberSystem();
});
afterAll(() => system[Symbol.asyncDispose]());

const device = { id: 'anna’s phone', name: 'Anna’s phone', os: 'Android 16' };
const logInOn = (email: string, deviceId: string, password = PASSWORD) =>
  logIn(
    system.em(),
    { email, password, device: { ...device, id: deviceId }, ip: '192.0.2.1', userAgent: 'test' },
    limits,
  );
const endOthersOf = (memberId: string) => system.em().transactional((em) => endOtherSessionsOfMember(em, memberId));
const endOthersOn = (deviceId: string) => system.em().transactional((em) => endOtherSessionsOnDevice(em, deviceId));

describe('Logging in', () => {
  test('opens a session whose token is not stored', async () => {
    const { email, id } = await system.register();
    const { token, session } = await logInOn(email!, 'a phone');
    expect(await findLiveSession(system.em(), token)).toMatchObject({ number: session.number, memberId: id });
    const [row] = await system.database.sql('select * from session where number = $1', [session.number]);
    expect(JSON.stringify(row)).not.toContain(token);
    expect(await findLiveSession(system.em(), `${token.slice(0, -1)}!`)).toBeNull();
  });

  test.each(['', 'short', 'x'.repeat(42), 'x'.repeat(44), `${'x'.repeat(42)}!`])(
    'runs no query for a malformed token: %j',
    async (text) => {
      const noDatabase = { findOne: () => Promise.reject(new Error('queried')) } as unknown as EntityManager;
      expect(await findLiveSession(noDatabase, text)).toBeNull();
    },
  );

  test('fails alike for a wrong password and an unknown e-mail address', async () => {
    const { email } = await system.register();
    const [wrong, unknown] = await Promise.all(
      [logInOn(email!, 'a phone', 'a wrong one'), logInOn('nobody@example.com', 'a phone')].map((attempt) =>
        attempt.catch((error) => error),
      ),
    );
    expect(wrong).toMatchObject({ slug: 'invalid-credentials', kind: 'unauthenticated' });
    expect({ ...unknown, message: unknown.message }).toEqual({ ...wrong, message: wrong.message });
  });

  test('gives concurrent sessions distinct numbers, and the policy keeps the highest', async () => {
    const { email, id } = await system.register();
    const opened = await Promise.all(['a', 'b', 'c', 'd'].map((name) => logInOn(email!, `${id} ${name}`)));
    const numbers = opened.map(({ session }) => session.number).sort((a, b) => a - b);
    expect(await system.liveSessionsOf(id)).toEqual(numbers);
    await Promise.all([1, 2, 3].map(() => endOthersOf(id)));
    expect(await system.liveSessionsOf(id)).toEqual([numbers.at(-1)]);
    const ended = (await system.eventTypesOf(id)).filter((type) => type === 'member.logged-out');
    expect(ended).toHaveLength(3);
  });
});

describe('The last-seen time', () => {
  test('is updated at most once a minute and never waits for a locked session', async () => {
    const { email } = await system.register();
    const { token, session } = await logInOn(email!, 'a phone');
    const seenAt = async () => (await findLiveSession(system.em(), token, new Date(0)))!.lastSeenAt;
    const secondsLater = (seconds: number) => new Date(session.loggedInAt.getTime() + seconds * 1_000);
    await findLiveSession(system.em(), token, secondsLater(59));
    expect(await seenAt()).toEqual(session.loggedInAt);
    await findLiveSession(system.em(), token, secondsLater(60));
    expect(await seenAt()).toEqual(secondsLater(60));
    await system.database.sql('begin');
    await system.database.sql('select from session where number = $1 for update', [session.number]);
    await findLiveSession(system.em(), token, secondsLater(180));
    await system.database.sql('rollback');
    expect(await seenAt()).toEqual(secondsLater(60));
  });
});

describe('Logging out', () => {
  test('ends the session at once and records one event', async () => {
    const { email, id } = await system.register();
    const { token, session } = await logInOn(email!, 'a phone');
    const own = { memberId: id, number: session.number };
    await Promise.all([logOut(system.em(), own), logOut(system.em(), own)]);
    expect(await findLiveSession(system.em(), token)).toBeNull();
    expect(await system.eventTypesOf(id)).toEqual(['member.registered', 'member.logged-in', 'member.logged-out']);
  });

  test('rejects another member’s session as not found', async () => {
    const [anna, ben] = [await system.register(), await system.register()];
    const { number } = await system.open(anna.id);
    await expect(logOut(system.em(), { memberId: ben.id, number })).rejects.toMatchObject({
      slug: 'session-not-found',
    });
  });
});

test('Sessions are listed in pages, the latest first', async () => {
  const { id } = await system.register();
  const opened = [await system.open(id), await system.open(id), await system.open(id)].map(({ number }) => number);
  const first = await listSessions(system.em(), { memberId: id, limit: 2 });
  const rest = await listSessions(system.em(), { memberId: id, limit: 2, before: first.at(-1)!.number });
  expect([...first, ...rest].map(({ number }) => number)).toEqual(opened.reverse());
});

describe('The session policies', () => {
  test('end only the earlier session on a device when another member logs in there', async () => {
    const [anna, ben, cho] = [await system.register(), await system.register(), await system.register()];
    const shared = `shared by ${anna.id}`;
    await system.open(anna.id, shared);
    const bens = await system.open(ben.id, shared);
    const chos = await system.open(cho.id);
    await Promise.all([endOthersOn(shared), endOthersOn(shared)]);
    expect(await system.liveSessionsOf(anna.id)).toEqual([]);
    expect(await system.liveSessionsOf(ben.id)).toEqual([bens.number]);
    expect(await system.liveSessionsOf(cho.id)).toEqual([chos.number]);
    const [{ logout_reason } = { logout_reason: '' }] = await system.database.sql<{ logout_reason: string }>(
      'select logout_reason from session where member_id = $1',
      [anna.id],
    );
    expect(logout_reason).toBe('OTHER_MEMBER_ON_DEVICE');
    expect((await system.eventTypesOf(anna.id)).filter((type) => type === 'member.logged-out')).toHaveLength(1);
  });

  test('end a superseded session even when the superseding member has withdrawn', async () => {
    const [anna, ben] = [await system.register(), await system.register()];
    const shared = `shared by ${anna.id}`;
    await system.open(anna.id, shared);
    await system.open(ben.id, shared);
    await withdrawMember(system.em(), ben.id);
    await endOthersOn(shared);
    expect(await system.liveSessionsOf(anna.id)).toEqual([]);
  });

  // Each login triggers both policies once; workers may be down, slow or replicated, so they run in any order, repeatedly.
  test('leave the same sessions in any order of runs and with any repeats', async () => {
    const members = await Promise.all([0, 1, 2].map(() => system.register()));
    const index = fc.nat(2);
    const logins = fc.array(fc.record({ member: index, device: index }), { minLength: 2, maxLength: 6 });
    const order = fc.array(fc.nat(), { minLength: 24, maxLength: 24 });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(logins, order, async (plan, picks) => {
        round += 1;
        await system.database.sql('delete from session');
        const deviceId = (index: number) => `${round} ${index}`;
        const triggers: (() => Promise<void>)[] = [];
        const opened: { number: number; member: number; device: number }[] = [];
        for (const { member, device } of plan) {
          const { number } = await system.open(members[member]!.id, deviceId(device));
          opened.push({ number, member, device });
          triggers.push(
            () => endOthersOf(members[member]!.id),
            () => endOthersOn(deviceId(device)),
          );
          // Some policies run before the next login.
          const early = picks[opened.length]! % 3;
          if (early > 0) await triggers[picks[opened.length + 6]! % triggers.length]!();
        }
        const shuffled = triggers.map((run, index) => ({ run, at: picks[index]! })).sort((a, b) => a.at - b.at);
        for (const { run } of [...shuffled, shuffled[0]!]) await run();
        const expected = opened.filter(
          (it) =>
            !opened.some(
              (later) => later.number > it.number && (later.member === it.member || later.device === it.device),
            ),
        );
        const left = await Promise.all(members.map(({ id }) => system.liveSessionsOf(id)));
        expect(left.flat().sort((a, b) => a - b)).toEqual(expected.map(({ number }) => number));
      }),
      { numRuns: 25 },
    );
  });
});
