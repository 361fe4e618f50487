import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import type { Restored, RestoreOptions } from '#eventing/restore';
import { events } from '../../../../services/member/events.ts';
import { identityHasher } from '../../../../services/member/identities.ts';
import { system } from '../../../../services/member/system.ts';
import { changePassword } from '../../../../services/member/use-cases/change-password.ts';
import { changeProfile } from '../../../../services/member/use-cases/change-profile.ts';
import { endOtherSessionsOfMember } from '../../../../services/member/use-cases/end-other-sessions-of-member.ts';
import { logIn } from '../../../../services/member/use-cases/log-in.ts';
import { logOut } from '../../../../services/member/use-cases/log-out.ts';
import { readMember } from '../../../../services/member/use-cases/read-member.ts';
import { Recollection } from '../../../../services/member/use-cases/recall-facts.ts';
import { recordDeviceLogin } from '../../../../services/member/use-cases/record-device-login.ts';
import { releaseIdentityVerification } from '../../../../services/member/use-cases/release-identity-verification.ts';
import { verifyIdentity } from '../../../../services/member/use-cases/verify-identity.ts';
import { withdrawMember } from '../../../../services/member/use-cases/withdraw-member.ts';
import * as support from '../../../support/snapshot.ts';
import { aPerson, limits, type MemberSystem, masterKey, openMemberSystem, PASSWORD } from '../support.ts';

let members: MemberSystem;
beforeEach(async () => {
  members = await openMemberSystem();
  // A database that knows nobody would be taken for the wrong one.
  await members.register();
});
afterEach(() => members[Symbol.asyncDispose]());

/** Restores the database to the moment before something happened, and puts it right. */
function restoredToBefore(happens: () => Promise<unknown>, andThen?: () => Promise<unknown>): Promise<Restored> {
  const { database, orm, keyring } = members;
  const recollection = new Recollection(keyring);
  const recall: RestoreOptions['recall'] = (em, fact, isOver) => recollection.recall(em, fact, isOver);
  const finish = (em: EntityManager) => recollection.finish(em);
  const end = (em: EntityManager, id: string) => withdrawMember(em, id);
  return support.restoredToBefore({ database, orm, system, events, recall, end, finish }, happens, andThen);
}

const verify = (memberId: string, ci: string = uuid()) =>
  verifyIdentity(
    members.em(),
    { memberId, identityVerificationId: 'ok' },
    { provider: { find: async () => ({ ci }) }, hashIdentity: identityHasher(masterKey) },
  );
const read = (id: string) => readMember(members.em(), id);
const factsOf = async (id: string) => (await members.factsOf(id)).map((type) => type.replace('member.', ''));
const sessionsOf = (id: string) =>
  members.database.sql(
    'select number::int, device_id, logout_reason from session where member_id = $1 order by number',
    [id],
  );

test('a profile is again what it was changed to', async () => {
  const [anna, email] = [await members.register(), `${uuid()}@example.com`];
  await restoredToBefore(async () => {
    await changeProfile(members.em(), { memberId: anna.id, name: 'Anna B' });
    await changeProfile(members.em(), { memberId: anna.id, email });
  });
  expect(await read(anna.id)).toMatchObject({ name: 'Anna B', email, status: 'ACTIVE' });
  expect(await factsOf(anna.id)).toEqual(['registered', 'profile-changed', 'profile-changed', 'restored']);
});

test('an address that one member gave up for another is the other’s again, whoever’s id comes first', async () => {
  for (const [from, to] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const both = [await members.register(), await members.register()] as const;
    const { email } = await read(both[from].id);
    await restoredToBefore(async () => {
      await changeProfile(members.em(), { memberId: both[from].id, email: `${uuid()}@example.com` });
      await changeProfile(members.em(), { memberId: both[to].id, email: email! });
    });
    expect((await read(both[to].id)).email).toBe(email);
  }
});

test('a verification that was released stays released', async () => {
  const anna = await members.register();
  await verify(anna.id);
  await restoredToBefore(() => releaseIdentityVerification(members.em(), { memberId: anna.id, reason: 'hers' }));
  expect((await read(anna.id)).isVerified).toBe(false);
  expect(await factsOf(anna.id)).toEqual([
    'registered',
    'identity-verified',
    'identity-verification-released',
    'restored',
  ]);
});

test('as whom somebody was verified no fact says: who was verified since is not, and that it was restored is said', async () => {
  const anna = await members.register();
  await restoredToBefore(() => verify(anna.id, 'her CI'));
  expect((await read(anna.id)).isVerified).toBe(false);
  expect(await factsOf(anna.id)).toEqual(['registered', 'identity-verified', 'restored']);
  await verify(anna.id, 'her CI');
  expect((await read(anna.id)).isVerified).toBe(true);
});

test('a session that has ended stays ended, for the reason that was stated', async () => {
  const anna = await members.register();
  const { number } = await members.open(anna.id, 'phone');
  await restoredToBefore(() => logOut(members.em(), { memberId: anna.id, number }));
  expect(await sessionsOf(anna.id)).toEqual([{ number, device_id: 'phone', logout_reason: 'SELF' }]);
  expect(await factsOf(anna.id)).toEqual(['registered', 'logged-in', 'logged-out', 'restored']);
});

test('a session that was opened since has ended: its token is lost; the sessions that it superseded have ended as well', async () => {
  const anna = await members.register();
  const before = await members.open(anna.id, 'phone');
  let since = 0;
  await restoredToBefore(async () => {
    since = (await members.open(anna.id, 'tablet')).number;
  });
  // As its worker does when it hears of the log-in again.
  await members.em().transactional((em) => endOtherSessionsOfMember(em, anna.id));
  expect(await sessionsOf(anna.id)).toEqual([
    { number: before.number, device_id: 'phone', logout_reason: 'OTHER_DEVICE' },
    { number: since, device_id: 'tablet', logout_reason: 'RESTORED' },
  ]);
  expect((await factsOf(anna.id)).slice(2)).toEqual(['logged-in', 'restored', 'logged-out', 'logged-out']);
});

test('a session that was opened and has ended since is there, and states nothing more', async () => {
  const anna = await members.register();
  let number = 0;
  await restoredToBefore(async () => {
    number = (await members.open(anna.id, 'tablet')).number;
    await logOut(members.em(), { memberId: anna.id, number });
  });
  expect(await sessionsOf(anna.id)).toEqual([{ number, device_id: 'tablet', logout_reason: 'SELF' }]);
  expect(await factsOf(anna.id)).toEqual(['registered', 'logged-in', 'logged-out', 'restored']);
});

test('no session gets a number that one has had', async () => {
  const anna = await members.register();
  const numbers: number[] = [];
  await restoredToBefore(async () => {
    for (let i = 0; i < 40; i++) numbers.push((await members.open(anna.id)).number);
  });
  const next = await members.open(anna.id);
  expect(next.number).toBeGreaterThan(Math.max(...numbers));
  expect(await members.liveSessionsOf(anna.id)).toEqual([next.number]);
});

test('who has withdrawn has withdrawn: nothing of the person comes back, and nothing can be stated', async () => {
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
  await restoredToBefore(() => withdrawMember(members.em(), anna.id));
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
  expect((await factsOf(anna.id)).slice(2)).toEqual(['logged-in', 'logged-out', 'withdrawn']);
});

test('who registered since has withdrawn, since nobody can ever be that member again; the address is free', async () => {
  const person = aPerson();
  let id = '';
  const outcome = await restoredToBefore(async () => {
    ({ id } = await members.register(person));
    await members.open(id);
    await changeProfile(members.em(), { memberId: id, name: 'Another' });
  });
  expect(outcome).toEqual({ putBack: 3, notRecalled: 0, overtaken: 0, gaps: 0, aggregates: 1 });
  expect(await read(id)).toMatchObject({ status: 'WITHDRAWN', email: null });
  expect(await factsOf(id)).toEqual(['registered', 'logged-in', 'profile-changed', 'restored', 'withdrawn']);
  expect(
    await members.database.sql('select wrapped_key from eventing.encryption_key where aggregate_id = $1', [id]),
  ).toEqual([{ wrapped_key: null }]);
  await expect(members.register(person)).resolves.toMatchObject({ status: 'ACTIVE' });
});

test('a password is never said: the one from before is right again, and who changed it can be found', async () => {
  const person = aPerson();
  const anna = await members.register(person);
  const { number } = await members.open(anna.id);
  const passwords = { currentPassword: PASSWORD, newPassword: 'another good passphrase' };
  await restoredToBefore(() =>
    changePassword(members.em(), { memberId: anna.id, sessionNumber: number, ...passwords, ip: '192.0.2.1' }, limits),
  );
  const device = { id: 'd', name: 'd', os: 'd' };
  const come = { email: person.email, device, ip: '192.0.2.1', userAgent: 'u' };
  await expect(logIn(members.em(), { ...come, password: PASSWORD }, limits)).resolves.toBeDefined();
  const who = await members.database.sql(
    `select aggregate_id from eventing.event_store where event_type = 'member.password-changed' and event_channel = 'unknown'`,
  );
  expect(who).toEqual([{ aggregate_id: anna.id }]);
});

test('who registered and has withdrawn since has withdrawn once', async () => {
  let id = '';
  await restoredToBefore(async () => {
    ({ id } = await members.register());
    await withdrawMember(members.em(), id);
  });
  expect(await factsOf(id)).toEqual(['registered', 'withdrawn']);
  expect(await read(id)).toMatchObject({ status: 'WITHDRAWN' });
  const keys =
    'select wrapped_key, destroyed_at is not null as destroyed from eventing.encryption_key where aggregate_id = $1';
  expect(await members.database.sql(keys, [id])).toEqual([{ wrapped_key: null, destroyed: true }]);
});

test('numbers of sessions that were opened by those who registered since are not given again', async () => {
  const anna = await members.register();
  const before = await members.open(anna.id);
  await restoredToBefore(async () => {
    const { id } = await members.register();
    for (let i = 0; i < 5; i++) await members.open(id);
  });
  expect((await members.open(anna.id)).number).toBeGreaterThan(before.number + 5);
});

describe('when the system has worked on the restored database', () => {
  test('an address that somebody has taken since stays theirs; the rest of what was lost is there', async () => {
    const [anna, email] = [await members.register(), `${uuid()}@example.com`];
    let ben = '';
    const outcome = await restoredToBefore(
      () => changeProfile(members.em(), { memberId: anna.id, email, name: 'Anna B' }),
      async () => {
        ben = (await members.register({ email })).id;
      },
    );
    expect(outcome).toMatchObject({ putBack: 1, notRecalled: 0 });
    expect((await read(ben)).email).toBe(email);
    const { name, email: hers } = await read(anna.id);
    expect([name, hers === email]).toEqual(['Anna B', false]);
  });

  test('who had withdrawn withdraws, although something else has been stated in its place', async () => {
    const anna = await members.register();
    const outcome = await restoredToBefore(
      () => withdrawMember(members.em(), anna.id),
      () => changeProfile(members.em(), { memberId: anna.id, name: 'Anna B' }),
    );
    expect(outcome).toMatchObject({ putBack: 0, overtaken: 1, aggregates: 1 });
    expect(await read(anna.id)).toMatchObject({ status: 'WITHDRAWN', name: null });
    expect(await factsOf(anna.id)).toEqual(['registered', 'profile-changed', 'restored', 'withdrawn']);
  });

  test('a session whose number has been given again is another’s, and goes on', async () => {
    const [anna, ben] = [await members.register(), await members.register()];
    let his = 0;
    await restoredToBefore(
      async () => {
        const { number } = await members.open(anna.id);
        await logOut(members.em(), { memberId: anna.id, number });
        return number;
      },
      async () => {
        his = (await members.open(ben.id)).number;
      },
    );
    expect(await members.liveSessionsOf(ben.id)).toEqual([his]);
    expect(await sessionsOf(anna.id)).toEqual([]);
  });
});
