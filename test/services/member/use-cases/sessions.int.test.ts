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
  test('opens a session with a token that only its holder knows', async () => {
    const { email, id } = await system.register();
    const { token, session } = await logInOn(email!, 'a phone');
    expect(await findLiveSession(system.em(), token)).toMatchObject({ number: session.number, memberId: id });
    const [row] = await system.database.sql('select * from session where number = $1', [session.number]);
    expect(JSON.stringify(row)).not.toContain(token);
    expect(await findLiveSession(system.em(), `${token.slice(0, -1)}!`)).toBeNull();
  });

  test('is refused alike for a wrong password and an unknown address', async () => {
    const { email } = await system.register();
    const [wrong, unknown] = await Promise.all(
      [logInOn(email!, 'a phone', 'a wrong one'), logInOn('nobody@example.com', 'a phone')].map((attempt) =>
        attempt.catch((error) => error),
      ),
    );
    expect(wrong).toMatchObject({ slug: 'invalid-credentials', kind: 'unauthenticated' });
    expect({ ...unknown, message: unknown.message }).toEqual({ ...wrong, message: wrong.message });
  });

  test('at the same moment gives each session a number, and the policy keeps the highest', async () => {
    const { email, id } = await system.register();
    const opened = await Promise.all(['a', 'b', 'c', 'd'].map((name) => logInOn(email!, `${id} ${name}`)));
    const numbers = opened.map(({ session }) => session.number).sort((a, b) => a - b);
    expect(await system.liveSessionsOf(id)).toEqual(numbers);
    await Promise.all([1, 2, 3].map(() => endOthersOf(id)));
    expect(await system.liveSessionsOf(id)).toEqual([numbers.at(-1)]);
    const ended = (await system.factsOf(id)).filter((type) => type === 'member.logged-out');
    expect(ended).toHaveLength(3);
  });
});

describe('Being seen', () => {
  test('is noted at most once a minute, and never waits for whoever changes the session', async () => {
    const { email } = await system.register();
    const { token, session } = await logInOn(email!, 'a phone');
    const seenAt = async () => (await findLiveSession(system.em(), token, new Date(0)))!.lastSeenAt;
    const secondsOn = (seconds: number) => new Date(session.loggedInAt.getTime() + seconds * 1_000);
    await findLiveSession(system.em(), token, secondsOn(59));
    expect(await seenAt()).toEqual(session.loggedInAt);
    await findLiveSession(system.em(), token, secondsOn(60));
    expect(await seenAt()).toEqual(secondsOn(60));
    await system.database.sql('begin');
    await system.database.sql('select from session where number = $1 for update', [session.number]);
    await findLiveSession(system.em(), token, secondsOn(180));
    await system.database.sql('rollback');
    expect(await seenAt()).toEqual(secondsOn(60));
  });
});

describe('Logging out', () => {
  test('ends the session at once and states it once', async () => {
    const { email, id } = await system.register();
    const { token, session } = await logInOn(email!, 'a phone');
    const own = { memberId: id, number: session.number };
    await Promise.all([logOut(system.em(), own), logOut(system.em(), own)]);
    expect(await findLiveSession(system.em(), token)).toBeNull();
    expect(await system.factsOf(id)).toEqual(['member.registered', 'member.logged-in', 'member.logged-out']);
  });

  test('of another member’s session is refused as if there were none', async () => {
    const [anna, ben] = [await system.register(), await system.register()];
    const { number } = await system.open(anna.id);
    await expect(logOut(system.em(), { memberId: ben.id, number })).rejects.toMatchObject({
      slug: 'session-not-found',
    });
  });
});

test('Sessions are listed page by page, the latest first', async () => {
  const { id } = await system.register();
  const opened = [await system.open(id), await system.open(id), await system.open(id)].map(({ number }) => number);
  const first = await listSessions(system.em(), { memberId: id, limit: 2 });
  const rest = await listSessions(system.em(), { memberId: id, limit: 2, before: first.at(-1)!.number });
  expect([...first, ...rest].map(({ number }) => number)).toEqual(opened.reverse());
});

describe('One member on a device, one device of a member', () => {
  test('a later log-in of another member on a device ends the earlier one, and nobody else’s', async () => {
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
    expect((await system.factsOf(anna.id)).filter((type) => type === 'member.logged-out')).toHaveLength(1);
  });

  test('whoever was superseded by a member who has withdrawn since is logged out all the same', async () => {
    const [anna, ben] = [await system.register(), await system.register()];
    const shared = `shared by ${anna.id}`;
    await system.open(anna.id, shared);
    await system.open(ben.id, shared);
    await withdrawMember(system.em(), ben.id);
    await endOthersOn(shared);
    expect(await system.liveSessionsOf(anna.id)).toEqual([]);
  });

  // Each log-in triggers both policies once; workers may be down, slow or many, so they come in any order and more than once.
  test('whatever the order in which the policies are run, and however often, the same sessions are left', async () => {
    const members = await Promise.all([0, 1, 2].map(() => system.register()));
    const who = fc.nat(2);
    const logins = fc.array(fc.record({ member: who, device: who }), { minLength: 2, maxLength: 6 });
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
          // Some are run before the next log-in.
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
  }, 60_000);
});
