import { v7 as uuid } from 'uuid';
import { changePassword } from '../../../../services/member/use-cases/change-password.ts';
import { changeProfile } from '../../../../services/member/use-cases/change-profile.ts';
import { logIn } from '../../../../services/member/use-cases/log-in.ts';
import { readMember } from '../../../../services/member/use-cases/read-member.ts';
import { aPerson, limits, type MemberSystem, openMemberSystem, PASSWORD } from '../support.ts';

let system: MemberSystem;
beforeAll(async () => {
  system = await openMemberSystem();
});
afterAll(() => system[Symbol.asyncDispose]());

const device = { id: 'a device', name: 'a device', os: 'any' };
const logInWith = (email: string, password: string) =>
  logIn(system.em(), { email, password, device, ip: '192.0.2.1', userAgent: 'test' }, limits);

describe('Registering', () => {
  test('creates a member who can log in', async () => {
    const member = await system.register();
    await logInWith(member.email!, PASSWORD);
    expect(await system.eventTypesOf(member.id)).toEqual(['member.registered', 'member.logged-in']);
  });

  test('stores neither the password nor the values of the event in clear text', async () => {
    const person = aPerson();
    const { id } = await system.register(person);
    const [row] = await system.database.sql<{ password_hash: string }>('select * from member where id = $1', [id]);
    const [event] = await system.database.sql('select * from eventing.event_store where aggregate_id = $1', [id]);
    expect(row!.password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(JSON.stringify(event)).not.toContain(person.email);
  });

  test('rejects a taken e-mail address, also concurrently', async () => {
    const { email } = aPerson();
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => system.register({ email })));
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.map(({ reason }) => reason.slug)).toEqual(['email-taken', 'email-taken']);
  });
});

describe('Changing the profile', () => {
  test('rejects the e-mail address of another member', async () => {
    const [anna, ben] = [await system.register(), await system.register()];
    const change = changeProfile(system.em(), { memberId: ben.id, email: anna.email! });
    await expect(change).rejects.toMatchObject({ slug: 'email-taken', kind: 'conflict' });
    expect(await system.eventTypesOf(ben.id)).toEqual(['member.registered']);
  });

  test('keeps both of two concurrent changes', async () => {
    const { id } = await system.register();
    const { email } = aPerson();
    await Promise.all([
      changeProfile(system.em(), { memberId: id, name: 'Anne' }),
      changeProfile(system.em(), { memberId: id, email }),
    ]);
    expect(await readMember(system.em(), id)).toMatchObject({ name: 'Anne', email, version: 3 });
  });

  test('fails for an unknown member', async () => {
    const change = changeProfile(system.em(), { memberId: uuid(), name: 'Anne' });
    await expect(change).rejects.toMatchObject({ slug: 'member-not-found', kind: 'not-found' });
  });
});

describe('Changing the password', () => {
  const newPassword = 'another horse battery';

  test('ends all sessions but the current one, and only the new password is valid', async () => {
    const member = await system.register();
    const [first, current, last] = [
      await system.open(member.id),
      await system.open(member.id),
      await system.open(member.id),
    ];
    await changePassword(
      system.em(),
      {
        memberId: member.id,
        sessionNumber: current.number,
        currentPassword: PASSWORD,
        newPassword,
        ip: '192.0.2.1',
      },
      limits,
    );
    expect(await system.liveSessionsOf(member.id)).toEqual([current.number]);
    const reasons = await system.database.sql('select logout_reason from session where number = any($1)', [
      [first.number, last.number],
    ]);
    expect(reasons).toEqual([{ logout_reason: 'PASSWORD_CHANGED' }, { logout_reason: 'PASSWORD_CHANGED' }]);
    await expect(logInWith(member.email!, PASSWORD)).rejects.toMatchObject({ slug: 'invalid-credentials' });
    await logInWith(member.email!, newPassword);
    expect((await system.eventTypesOf(member.id)).slice(-4)).toEqual([
      'member.password-changed',
      'member.logged-out',
      'member.logged-out',
      'member.logged-in',
    ]);
  });

  test('rejects a wrong current password', async () => {
    const member = await system.register();
    const change = {
      memberId: member.id,
      sessionNumber: 0,
      currentPassword: 'a wrong one',
      newPassword,
      ip: '192.0.2.1',
    };
    await expect(changePassword(system.em(), change, limits)).rejects.toMatchObject({ slug: 'wrong-password' });
  });

  test('succeeds once for two concurrent changes', async () => {
    const member = await system.register();
    const outcomes = await Promise.allSettled(
      ['first new one', 'second new one'].map((password) =>
        changePassword(
          system.em(),
          {
            memberId: member.id,
            sessionNumber: 0,
            currentPassword: PASSWORD,
            newPassword: password,
            ip: '192.0.2.1',
          },
          limits,
        ),
      ),
    );
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(await system.eventTypesOf(member.id)).toEqual(['member.registered', 'member.password-changed']);
  });
});
