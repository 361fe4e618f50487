import { v7 as uuid } from 'uuid';
import { hashCode } from '../../../../services/family-account/invitation-codes.ts';
import { invite } from '../../../../services/family-account/use-cases/invite.ts';
import { openFamilyAccount } from '../../../../services/family-account/use-cases/open-family-account.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

let system: FamilyAccountSystem;
beforeAll(async () => {
  system = await openFamilyAccountSystem();
});
afterAll(() => system[Symbol.asyncDispose]());
beforeEach(() => {
  system.member.beforeAnswer = () => undefined;
});

const open = (ownerId: string) => openFamilyAccount(system.em(), system.member, { name: 'Home', ownerId });
/** Returns the problem slugs of the rejected outcomes. */
const slugsOfRejected = (outcomes: PromiseSettledResult<unknown>[]) =>
  outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.slug ?? outcome.reason] : []));

async function expectNoLocks(): Promise<void> {
  const locks = await system.database.sql(
    `select 1 from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`,
  );
  expect(locks).toEqual([]);
}

describe('Opening a family account', () => {
  test('makes the founder its owner and first member', async () => {
    const ownerId = uuid();
    const { account, members } = await open(ownerId);
    expect(account).toMatchObject({ status: 'OPEN', name: 'Home', ownerId });
    expect(members).toMatchObject([{ memberId: ownerId }]);
    expect(await system.membersOf(account.id)).toEqual({ ownerId, memberIds: [ownerId] });
    expect(await system.eventTypesOf(account.id)).toEqual(['opened', 'member-joined']);
  });

  test.each(['NOT_VERIFIED', 'WITHDRAWN'] as const)('fails for a member with standing %s', async (standing) => {
    const ownerId = uuid();
    system.member.standings.set(ownerId, standing);
    await expect(open(ownerId)).rejects.toMatchObject({ slug: 'identity-not-verified', kind: 'forbidden' });
    expect(await system.database.sql('select 1 from family_account where owner_id = $1', [ownerId])).toEqual([]);
  });

  test('requests the member’s standing without holding a lock', async () => {
    system.member.beforeAnswer = expectNoLocks;
    await open(uuid());
  });

  test('creates one account for concurrent requests of one member', async () => {
    const ownerId = uuid();
    const outcomes = await Promise.allSettled([open(ownerId), open(ownerId), open(ownerId)]);
    expect(slugsOfRejected(outcomes)).toEqual(['already-in-family-account', 'already-in-family-account']);
    const events = await system.database.sql(
      `select 1 from eventing.event_store where event_type = 'family-account.opened'
        and aggregate_id not in (select id from family_account)`,
    );
    expect(events).toEqual([]);
  });
});

describe('Inviting', () => {
  test('returns a code that is stored as a hash only', async () => {
    const { id, memberIds } = await system.family();
    const { code, expiresAt } = await invite(system.em(), { familyAccountId: id, by: memberIds[0]! }, new Date(0));
    expect(code).toMatch(/^[\w-]{32}$/);
    expect(expiresAt).toEqual(new Date('1970-01-08T00:00:00Z'));
    const [row] = await system.database.sql('select * from invitation where family_account_id = $1', [id]);
    expect(row).toMatchObject({ code_hash: hashCode(code), accepted_by: null });
    expect(JSON.stringify(row)).not.toContain(code);
  });

  test('is allowed to the owner only; outsiders get not-found', async () => {
    const { id, memberIds } = await system.family(1);
    await expect(system.invite(id, memberIds[1]!)).rejects.toMatchObject({ slug: 'owner-only' });
    const outsider = await system.invite(id, uuid()).catch((error) => error);
    const unknown = await system.invite(uuid(), memberIds[0]!).catch((error) => error);
    expect(outsider).toMatchObject({ slug: 'family-account-not-found', kind: 'not-found' });
    expect([unknown.slug, unknown.message]).toEqual([outsider.slug, outsider.message]);
  });

  test('counts only invitations that can still be used', async () => {
    const { id, memberIds } = await system.family();
    const inviteAt = (at: Date) => invite(system.em(), { familyAccountId: id, by: memberIds[0]! }, at);
    for (let n = 0; n < 10; n++) await inviteAt(new Date(0));
    for (let n = 0; n < 10; n++) await inviteAt(new Date());
    await expect(inviteAt(new Date())).rejects.toMatchObject({ slug: 'too-many-invitations' });
    expect(await inviteAt(new Date(Date.now() + 8 * 24 * 3_600_000))).toBeDefined();
  });
});

describe('Accepting an invitation', () => {
  test('adds the member once, even when repeated concurrently', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const ben = uuid();
    await Promise.all([system.accept(code, ben), system.accept(code, ben)]);
    await system.accept(code, ben);
    expect(await system.membersOf(id)).toEqual({ ownerId: memberIds[0], memberIds: [memberIds[0], ben] });
    expect(await system.eventTypesOf(id)).toEqual(['opened', 'member-joined', 'invitation-issued', 'member-joined']);
  });

  test('rejects an unknown code without requesting the member’s standing', async () => {
    const before = system.member.standingRequests.length;
    await expect(system.accept('x'.repeat(32), uuid())).rejects.toMatchObject({ slug: 'invitation-not-found' });
    expect(system.member.standingRequests).toHaveLength(before);
  });

  test('requests the standing without a lock, and a rejection leaves the invitation valid', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const ben = uuid();
    system.member.beforeAnswer = expectNoLocks;
    system.member.standings.set(ben, 'NOT_VERIFIED');
    await expect(system.accept(code, ben)).rejects.toMatchObject({ slug: 'identity-not-verified' });
    system.member.standings.set(ben, 'VERIFIED');
    await system.accept(code, ben);
  });

  test('admits one of two concurrent persons', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const outcomes = await Promise.allSettled([system.accept(code, uuid()), system.accept(code, uuid())]);
    expect(slugsOfRejected(outcomes)).toEqual(['invitation-used']);
    expect((await system.membersOf(id)).memberIds).toHaveLength(2);
  });

  test('admits one of two concurrent persons to the last place', async () => {
    const { id, memberIds } = await system.family(3);
    const codes = [await system.invite(id, memberIds[0]!), await system.invite(id, memberIds[0]!)];
    const outcomes = await Promise.allSettled(codes.map((code) => system.accept(code, uuid())));
    expect(slugsOfRejected(outcomes)).toEqual(['family-account-full']);
    expect((await system.membersOf(id)).memberIds).toHaveLength(5);
    expect((await system.eventTypesOf(id)).filter((type) => type === 'member-joined')).toHaveLength(5);
  });

  test('admits a person to one of two accounts at once; the other invitation stays valid', async () => {
    const families = [await system.family(), await system.family()];
    const codes = await Promise.all(families.map(({ id, memberIds }) => system.invite(id, memberIds[0]!)));
    const ben = uuid();
    const outcomes = await Promise.allSettled(codes.map((code) => system.accept(code, ben)));
    expect(slugsOfRejected(outcomes)).toEqual(['already-in-family-account']);
    const refused = outcomes.findIndex(({ status }) => status === 'rejected');
    expect((await system.membersOf(families[refused]!.id)).memberIds).toEqual(families[refused]!.memberIds);
    expect(await system.eventTypesOf(families[refused]!.id)).toEqual(['opened', 'member-joined', 'invitation-issued']);
    await system.accept(codes[refused]!, uuid());
  });
});
