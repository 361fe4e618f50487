import { v7 as uuid } from 'uuid';
import { identityHasher } from '../../../../services/member/identity-hash.ts';
import { changeProfile } from '../../../../services/member/use-cases/change-profile.ts';
import { endOtherSessionsOnDevice } from '../../../../services/member/use-cases/end-other-sessions-on-device.ts';
import { logIn } from '../../../../services/member/use-cases/log-in.ts';
import { readMember } from '../../../../services/member/use-cases/read-member.ts';
import { recordDeviceLogin } from '../../../../services/member/use-cases/record-device-login.ts';
import { verifyIdentity } from '../../../../services/member/use-cases/verify-identity.ts';
import { withdrawMember } from '../../../../services/member/use-cases/withdraw-member.ts';
import { eventually } from '../../../support/eventually.ts';
import { aPerson, limits, type MemberSystem, masterKey, openMemberSystem, PASSWORD } from '../support.ts';

let system: MemberSystem;
beforeAll(async () => {
  system = await openMemberSystem();
});
afterAll(() => system[Symbol.asyncDispose]());

const device = { id: 'device-of-hers-77', name: 'Her very own phone', os: 'Haiku R1' };
const from = { ip: '203.0.113.99', userAgent: 'A browser of hers' };

const recordLogin = (memberId: string, eventId = uuid()) =>
  system.em().transactional((em) =>
    recordDeviceLogin(em, {
      eventId,
      memberId,
      sessionNumber: 1,
      deviceId: device.id,
      deviceName: device.name,
      deviceOs: device.os,
      ...from,
      at: new Date(),
    }),
  );

/** Returns all rows of the database as text. */
async function databaseText(): Promise<string> {
  const tables = await system.database.sql<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('public', 'eventing')`,
  );
  const rows = await Promise.all(
    tables.map(({ name }) => system.database.sql<{ row: string }>(`select to_json(t)::text as row from ${name} t`)),
  );
  return rows
    .flat()
    .map(({ row }) => row)
    .join('\n');
}

test('Withdrawing removes all personal data from the database and keeps the events countable', async () => {
  const person = aPerson();
  const { id } = await system.register(person);
  await logIn(system.em(), { email: person.email, password: PASSWORD, device, ...from }, limits);
  await recordLogin(id);
  await verifyIdentity(
    system.em(),
    { memberId: id, identityVerificationId: 'ok' },
    { provider: { find: async () => ({ ci: 'CI of hers' }) }, hashIdentity: identityHasher(masterKey) },
  );
  const personal = [person.email, person.name, device.id, device.name, device.os, from.ip, from.userAgent];
  const hash = identityHasher(masterKey)('CI of hers');
  const before = await databaseText();
  expect([...personal, hash].filter((value) => !before.includes(value))).toEqual([]);

  await withdrawMember(system.em(), id);

  const after = await databaseText();
  expect([...personal, hash, '$argon2id$'].filter((value) => after.includes(value))).toEqual([]);
  expect(await system.eventTypesOf(id)).toEqual([
    'member.registered',
    'member.logged-in',
    'member.identity-verified',
    'member.logged-out',
    'member.withdrawn',
  ]);
  const messages = await system.messagesOf(id);
  expect(messages).toHaveLength(5);
  const [registered] = messages;
  expect(await system.keyring.reveal(system.em(), registered!, registered!.data.attributes)).toEqual({
    email: 'erased',
    name: 'erased',
  });
});

describe('A member that has withdrawn', () => {
  test('keeps only its id and status, and withdrawing again changes nothing', async () => {
    const { id } = await system.register();
    await withdrawMember(system.em(), id);
    await withdrawMember(system.em(), id);
    expect(await readMember(system.em(), id)).toMatchObject({ id, status: 'WITHDRAWN', email: null, version: 2 });
    expect(await system.eventTypesOf(id)).toEqual(['member.registered', 'member.withdrawn']);
  });

  test('leaves its e-mail address free for a new member', async () => {
    const { email } = aPerson();
    const { id } = await system.register({ email });
    await withdrawMember(system.em(), id);
    const { id: another } = await system.register({ email });
    expect(another).not.toBe(id);
  });

  test('gets no login record, even from a concurrent login', async () => {
    const members = await Promise.all([1, 2, 3, 4].map(() => system.register()));
    await Promise.all(members.flatMap(({ id }) => [recordLogin(id), withdrawMember(system.em(), id), recordLogin(id)]));
    expect(
      await system.database.sql('select * from login_record where member_id = any($1)', [members.map(({ id }) => id)]),
    ).toEqual([]);
  });
});

test('Withdrawal is the last event despite concurrent changes, and no session outlives it', async () => {
  const members = await Promise.all(Array.from({ length: 8 }, () => system.register()));
  await Promise.all(
    members.map(({ id, email }) =>
      Promise.allSettled([
        logIn(system.em(), { email: email!, password: PASSWORD, device, ...from }, limits),
        system.open(id),
        changeProfile(system.em(), { memberId: id, name: 'Anne' }),
        withdrawMember(system.em(), id),
        system.open(id),
        changeProfile(system.em(), { memberId: id, name: 'Hannah' }),
      ]),
    ),
  );
  for (const { id } of members) {
    const eventTypes = await system.eventTypesOf(id);
    expect(eventTypes.indexOf('member.withdrawn')).toBe(eventTypes.length - 1);
    expect(await system.liveSessionsOf(id)).toEqual([]);
    const count = (type: string) => eventTypes.filter((each) => each === type).length;
    expect(count('member.logged-out')).toBe(count('member.logged-in'));
  }
});

test('Withdrawing waits for a concurrent device policy without a deadlock', async () => {
  const [anna, ben] = [await system.register(), await system.register()];
  const devices = [`a of ${ben.id}`, `b of ${ben.id}`] as const;
  for (const { id } of [anna, ben]) for (const deviceId of devices) await system.open(id, deviceId);
  const waiting = (count: number) =>
    eventually(async () => {
      const lockWaits = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      expect(await system.database.sql(lockWaits)).toHaveLength(count);
    });
  // Both need Anna's row, and get as far as they can without it.
  await system.database.sql('begin');
  await system.database.sql('select from member where id = $1 for update', [anna.id]);
  const withdrawal = withdrawMember(system.em(), ben.id);
  await waiting(1);
  const devicePolicy = system.em().transactional((em) => endOtherSessionsOnDevice(em, devices[1]));
  await waiting(2);
  await system.database.sql('rollback');
  expect(await Promise.allSettled([withdrawal, devicePolicy])).toMatchObject([
    { status: 'fulfilled' },
    { status: 'fulfilled' },
  ]);
  expect(await system.liveSessionsOf(anna.id)).toEqual([]);
});

test('A login that commits during its member’s withdrawal still ends the session it superseded', async () => {
  const [anna, ben] = [await system.register(), await system.register()];
  const shared = `shared with ${ben.id}`;
  await system.open(anna.id, shared);
  await system.open(ben.id, `his own ${ben.id}`);
  const login = system.em();
  await login.begin();
  await system.open(ben.id, shared, login);
  const withdrawal = withdrawMember(system.em(), ben.id);
  await eventually(async () => {
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    expect(await system.database.sql(waiting)).toHaveLength(1);
  });
  await login.commit();
  await withdrawal;
  // The worker could not end it: the withdrawn member's sessions no longer name the device.
  expect(await system.liveSessionsOf(anna.id)).toEqual([]);
  expect(await system.liveSessionsOf(ben.id)).toEqual([]);
});

test('One login leaves one login record, however often its event is delivered', async () => {
  const { id } = await system.register();
  const eventId = uuid();
  await Promise.all([recordLogin(id, eventId), recordLogin(id, eventId), recordLogin(id, eventId)]);
  expect(await system.database.sql('select event_id from login_record where member_id = $1', [id])).toEqual([
    { event_id: eventId },
  ]);
});
