import { v7 as uuid } from 'uuid';
import { identityHasher } from '../../../../services/member/identities.ts';
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

const record = (memberId: string, eventId = uuid()) =>
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

/** Everything that rests in the database, each row as text. */
async function everything(): Promise<string> {
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

test('Withdrawing leaves nothing of the person anywhere in the database, and the facts countable', async () => {
  const person = aPerson();
  const { id } = await system.register(person);
  await logIn(system.em(), { email: person.email, password: PASSWORD, device, ...from }, limits);
  await record(id);
  await verifyIdentity(
    system.em(),
    { memberId: id, identityVerificationId: 'ok' },
    { provider: { find: async () => ({ ci: 'CI of hers' }) }, hashIdentity: identityHasher(masterKey) },
  );
  const personal = [person.email, person.name, device.id, device.name, device.os, from.ip, from.userAgent];
  const hash = identityHasher(masterKey)('CI of hers');
  const before = await everything();
  expect([...personal, hash].filter((value) => !before.includes(value))).toEqual([]);

  await withdrawMember(system.em(), id);

  const after = await everything();
  expect([...personal, hash, '$argon2id$'].filter((value) => after.includes(value))).toEqual([]);
  expect(await system.factsOf(id)).toEqual([
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
  test('is remembered by its id alone, and withdrawing again changes nothing', async () => {
    const { id } = await system.register();
    await withdrawMember(system.em(), id);
    await withdrawMember(system.em(), id);
    expect(await readMember(system.em(), id)).toMatchObject({ id, status: 'WITHDRAWN', email: null, version: 2 });
    expect(await system.factsOf(id)).toEqual(['member.registered', 'member.withdrawn']);
  });

  test('leaves the address free for a new member', async () => {
    const { email } = aPerson();
    const { id } = await system.register({ email });
    await withdrawMember(system.em(), id);
    const { id: another } = await system.register({ email });
    expect(another).not.toBe(id);
  });

  test('gets no login record any more, also not at the same moment', async () => {
    const members = await Promise.all([1, 2, 3, 4].map(() => system.register()));
    await Promise.all(members.flatMap(({ id }) => [record(id), withdrawMember(system.em(), id), record(id)]));
    expect(
      await system.database.sql('select * from login_record where member_id = any($1)', [members.map(({ id }) => id)]),
    ).toEqual([]);
  });
});

test('Withdrawn is the last fact, whatever else is done at the same moment, and no session outlives it', async () => {
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
    const facts = await system.factsOf(id);
    expect(facts.indexOf('member.withdrawn')).toBe(facts.length - 1);
    expect(await system.liveSessionsOf(id)).toEqual([]);
    const count = (type: string) => facts.filter((each) => each === type).length;
    expect(count('member.logged-out')).toBe(count('member.logged-in'));
  }
});

test('Withdrawing waits for whoever settles one of the member’s devices at the same moment, and neither gives up', async () => {
  const [anna, ben] = [await system.register(), await system.register()];
  const devices = [`a of ${ben.id}`, `b of ${ben.id}`] as const;
  for (const { id } of [anna, ben]) for (const deviceId of devices) await system.open(id, deviceId);
  const waiting = (count: number) =>
    eventually(async () => {
      const those = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      expect(await system.database.sql(those)).toHaveLength(count);
    });
  // Both will want her, and come as far as they can without her.
  await system.database.sql('begin');
  await system.database.sql('select from member where id = $1 for update', [anna.id]);
  const withdrawal = withdrawMember(system.em(), ben.id);
  await waiting(1);
  const settling = system.em().transactional((em) => endOtherSessionsOnDevice(em, devices[1]));
  await waiting(2);
  await system.database.sql('rollback');
  expect(await Promise.allSettled([withdrawal, settling])).toMatchObject([
    { status: 'fulfilled' },
    { status: 'fulfilled' },
  ]);
  expect(await system.liveSessionsOf(anna.id)).toEqual([]);
});

test('A log-in that commits while its member withdraws ends the session that it superseded on its device all the same', async () => {
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
  // His worker finds nothing any more by which to end it.
  expect(await system.liveSessionsOf(anna.id)).toEqual([]);
  expect(await system.liveSessionsOf(ben.id)).toEqual([]);
});

test('One log-in leaves one login record, however often it is told', async () => {
  const { id } = await system.register();
  const eventId = uuid();
  await Promise.all([record(id, eventId), record(id, eventId), record(id, eventId)]);
  expect(await system.database.sql('select event_id from login_record where member_id = $1', [id])).toEqual([
    { event_id: eventId },
  ]);
});
