import { v7 as uuid } from 'uuid';
import { identityHasher } from '../../../../services/member/identity-hash.ts';
import { changePassword } from '../../../../services/member/use-cases/change-password.ts';
import { changeProfile } from '../../../../services/member/use-cases/change-profile.ts';
import { logIn } from '../../../../services/member/use-cases/log-in.ts';
import { logOut } from '../../../../services/member/use-cases/log-out.ts';
import { readMember } from '../../../../services/member/use-cases/read-member.ts';
import { recordDeviceLogin } from '../../../../services/member/use-cases/record-device-login.ts';
import { releaseIdentityVerification } from '../../../../services/member/use-cases/release-identity-verification.ts';
import { verifyIdentity } from '../../../../services/member/use-cases/verify-identity.ts';
import { withdrawMember } from '../../../../services/member/use-cases/withdraw-member.ts';
import { aPerson, limits, type MemberSystem, masterKey, PASSWORD } from '../support.ts';
import { openReplayFixture, type ReplayFixture } from './replay.ts';

let members: MemberSystem;
let restoreAndReplay: ReplayFixture['restoreAndReplay'];
let eventTypesOf: ReplayFixture['eventTypesOf'];
let sessionsOf: ReplayFixture['sessionsOf'];
beforeEach(async () => {
  ({ members, restoreAndReplay, eventTypesOf, sessionsOf } = await openReplayFixture());
});
afterEach(() => members[Symbol.asyncDispose]());

const verify = (memberId: string, ci: string = uuid()) =>
  verifyIdentity(
    members.em(),
    { memberId, identityVerificationId: 'ok' },
    { provider: { find: async () => ({ ci }) }, hashIdentity: identityHasher(masterKey) },
  );
const read = (id: string) => readMember(members.em(), id);

test('lost profile changes are replayed', async () => {
  const [anna, email] = [await members.register(), `${uuid()}@example.com`];
  await restoreAndReplay(async () => {
    await changeProfile(members.em(), { memberId: anna.id, name: 'Anna B' });
    await changeProfile(members.em(), { memberId: anna.id, email });
  });
  expect(await read(anna.id)).toMatchObject({ name: 'Anna B', email, status: 'ACTIVE' });
  expect(await eventTypesOf(anna.id)).toEqual(['registered', 'profile-changed', 'profile-changed', 'restored']);
});

test('an e-mail address moved between members is replayed, in either order of their ids', async () => {
  for (const [from, to] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const both = [await members.register(), await members.register()] as const;
    const { email } = await read(both[from].id);
    await restoreAndReplay(async () => {
      await changeProfile(members.em(), { memberId: both[from].id, email: `${uuid()}@example.com` });
      await changeProfile(members.em(), { memberId: both[to].id, email: email! });
    });
    expect((await read(both[to].id)).email).toBe(email);
  }
});

test('a released verification stays released', async () => {
  const anna = await members.register();
  await verify(anna.id);
  await restoreAndReplay(() => releaseIdentityVerification(members.em(), { memberId: anna.id, reason: 'hers' }));
  expect((await read(anna.id)).isVerified).toBe(false);
  expect(await eventTypesOf(anna.id)).toEqual([
    'registered',
    'identity-verified',
    'identity-verification-released',
    'restored',
  ]);
});

test('a lost verification is not replayed, as events hold no CI, and member.restored follows', async () => {
  const anna = await members.register();
  await restoreAndReplay(() => verify(anna.id, 'her CI'));
  expect((await read(anna.id)).isVerified).toBe(false);
  expect(await eventTypesOf(anna.id)).toEqual(['registered', 'identity-verified', 'restored']);
  await verify(anna.id, 'her CI');
  expect((await read(anna.id)).isVerified).toBe(true);
});

test('a lost withdrawal is replayed: personal data is erased and no event follows', async () => {
  const person = aPerson();
  const anna = await members.register(person);
  await verify(anna.id);
  const { number } = await members.open(anna.id, 'her phone');
  const login = {
    deviceId: 'her phone',
    deviceName: 'p',
    deviceOs: 'o',
    ip: '192.0.2.7',
    userAgent: 'u',
    at: new Date(),
  };
  await members
    .em()
    .transactional((em) =>
      recordDeviceLogin(em, { eventId: uuid(), memberId: anna.id, sessionNumber: number, ...login }),
    );
  await restoreAndReplay(() => withdrawMember(members.em(), anna.id));
  expect(await read(anna.id)).toMatchObject({
    status: 'WITHDRAWN',
    email: null,
    name: null,
    passwordHash: null,
    identityHash: null,
  });
  expect(await sessionsOf(anna.id)).toEqual([{ number, device_id: null, logout_reason: 'WITHDRAWN' }]);
  expect(await members.database.sql('select from login_record where member_id = $1', [anna.id])).toEqual([]);
  expect(
    await members.database.sql(
      'select from eventing.encryption_key where aggregate_id = $1 and wrapped_key is not null',
      [anna.id],
    ),
  ).toEqual([]);
  expect((await eventTypesOf(anna.id)).slice(2)).toEqual(['logged-in', 'logged-out', 'withdrawn']);
});

test('a lost registration is replayed as withdrawn, and its e-mail address is free', async () => {
  const person = aPerson();
  let id = '';
  const outcome = await restoreAndReplay(async () => {
    ({ id } = await members.register(person));
    await members.open(id);
    await changeProfile(members.em(), { memberId: id, name: 'Another' });
  });
  expect(outcome).toEqual({ imported: 3, notReplayed: 0, conflicts: 0, gaps: 0, aggregates: 1 });
  expect(await read(id)).toMatchObject({ status: 'WITHDRAWN', email: null });
  expect(await eventTypesOf(id)).toEqual(['registered', 'logged-in', 'profile-changed', 'restored', 'withdrawn']);
  expect(
    await members.database.sql('select wrapped_key from eventing.encryption_key where aggregate_id = $1', [id]),
  ).toEqual([{ wrapped_key: null }]);
  await expect(members.register(person)).resolves.toMatchObject({ status: 'ACTIVE' });
});

test('a lost password change brings back the old password and can be found by its event', async () => {
  const person = aPerson();
  const anna = await members.register(person);
  const { number } = await members.open(anna.id);
  const passwords = { currentPassword: PASSWORD, newPassword: 'another good passphrase' };
  await restoreAndReplay(() =>
    changePassword(members.em(), { memberId: anna.id, sessionNumber: number, ...passwords, ip: '192.0.2.1' }, limits),
  );
  const device = { id: 'd', name: 'd', os: 'd' };
  const login = { email: person.email, device, ip: '192.0.2.1', userAgent: 'u' };
  await expect(logIn(members.em(), { ...login, password: PASSWORD }, limits)).resolves.toBeDefined();
  const changed = await members.database.sql(
    `select aggregate_id from eventing.event_store where event_type = 'member.password-changed' and event_channel = 'unknown'`,
  );
  expect(changed).toEqual([{ aggregate_id: anna.id }]);
});

test('a lost registration with its withdrawal is replayed as one withdrawal', async () => {
  let id = '';
  await restoreAndReplay(async () => {
    ({ id } = await members.register());
    await withdrawMember(members.em(), id);
  });
  expect(await eventTypesOf(id)).toEqual(['registered', 'withdrawn']);
  expect(await read(id)).toMatchObject({ status: 'WITHDRAWN' });
  const keys =
    'select wrapped_key, destroyed_at is not null as destroyed from eventing.encryption_key where aggregate_id = $1';
  expect(await members.database.sql(keys, [id])).toEqual([{ wrapped_key: null, destroyed: true }]);
});

describe('A restored database with newer changes', () => {
  test('keeps a newly taken e-mail address with its new member and replays the rest', async () => {
    const [anna, email] = [await members.register(), `${uuid()}@example.com`];
    let ben = '';
    const outcome = await restoreAndReplay(
      () => changeProfile(members.em(), { memberId: anna.id, email, name: 'Anna B' }),
      async () => {
        ben = (await members.register({ email })).id;
      },
    );
    expect(outcome).toMatchObject({ imported: 1, notReplayed: 0 });
    expect((await read(ben)).email).toBe(email);
    const { name, email: annas } = await read(anna.id);
    expect([name, annas === email]).toEqual(['Anna B', false]);
  });

  test('replays a withdrawal although another event has its sequence', async () => {
    const anna = await members.register();
    const outcome = await restoreAndReplay(
      () => withdrawMember(members.em(), anna.id),
      () => changeProfile(members.em(), { memberId: anna.id, name: 'Anna B' }),
    );
    expect(outcome).toMatchObject({ imported: 0, conflicts: 1, aggregates: 1 });
    expect(await read(anna.id)).toMatchObject({ status: 'WITHDRAWN', name: null });
    expect(await eventTypesOf(anna.id)).toEqual(['registered', 'profile-changed', 'restored', 'withdrawn']);
  });

  test('keeps a live session that has the number of a lost one', async () => {
    const [anna, ben] = [await members.register(), await members.register()];
    let bens = 0;
    await restoreAndReplay(
      async () => {
        const { number } = await members.open(anna.id);
        await logOut(members.em(), { memberId: anna.id, number });
        return number;
      },
      async () => {
        bens = (await members.open(ben.id)).number;
      },
    );
    expect(await members.liveSessionsOf(ben.id)).toEqual([bens]);
    expect(await sessionsOf(anna.id)).toEqual([]);
  });
});
