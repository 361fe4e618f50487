import { v7 as uuid } from 'uuid';
import { hashCode } from '../../../../services/family-account/codes.ts';
import { invite } from '../../../../services/family-account/use-cases/invite.ts';
import { openFamilyAccount } from '../../../../services/family-account/use-cases/open-family-account.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

let system: FamilyAccountSystem;
beforeAll(async () => {
  system = await openFamilyAccountSystem();
});
afterAll(() => system[Symbol.asyncDispose]());
beforeEach(() => {
  system.member.whenAsked = () => undefined;
});

const open = (ownerId: string) => openFamilyAccount(system.em(), system.member, { name: 'Home', ownerId });
/** The slugs of those that were refused. */
const refusals = (outcomes: PromiseSettledResult<unknown>[]) =>
  outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.slug ?? outcome.reason] : []));

async function expectNobodyLocked(): Promise<void> {
  const locks = await system.database.sql(
    `select 1 from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`,
  );
  expect(locks).toEqual([]);
}

describe('Opening a family account', () => {
  test('makes its founder the owner and first member', async () => {
    const ownerId = uuid();
    const { account, members } = await open(ownerId);
    expect(account).toMatchObject({ status: 'OPEN', name: 'Home', ownerId });
    expect(members).toMatchObject([{ memberId: ownerId }]);
    expect(await system.membersOf(account.id)).toEqual({ ownerId, memberIds: [ownerId] });
    expect(await system.factsOf(account.id)).toEqual(['opened', 'member-joined']);
  });

  test.each(['NOT_VERIFIED', 'WITHDRAWN'] as const)('is refused to a member who is %s', async (standing) => {
    const ownerId = uuid();
    system.member.standings.set(ownerId, standing);
    await expect(open(ownerId)).rejects.toMatchObject({ slug: 'identity-not-verified', kind: 'forbidden' });
    expect(await system.database.sql('select 1 from family_account where owner_id = $1', [ownerId])).toEqual([]);
  });

  test('asks about the member while nothing is locked', async () => {
    system.member.whenAsked = expectNobodyLocked;
    await open(uuid());
  });

  test('at the same moment by the same member makes one account', async () => {
    const ownerId = uuid();
    const outcomes = await Promise.allSettled([open(ownerId), open(ownerId), open(ownerId)]);
    expect(refusals(outcomes)).toEqual(['already-in-family-account', 'already-in-family-account']);
    const facts = await system.database.sql(
      `select 1 from eventing.event_store where event_type = 'family-account.opened'
        and aggregate_id not in (select id from family_account)`,
    );
    expect(facts).toEqual([]);
  });
});

describe('Inviting', () => {
  test('answers a code that the database does not hold', async () => {
    const { id, memberIds } = await system.family();
    const { code, expiresAt } = await invite(system.em(), { familyAccountId: id, by: memberIds[0]! }, new Date(0));
    expect(code).toMatch(/^[\w-]{32}$/);
    expect(expiresAt).toEqual(new Date('1970-01-08T00:00:00Z'));
    const [row] = await system.database.sql('select * from invitation where family_account_id = $1', [id]);
    expect(row).toMatchObject({ code_hash: hashCode(code), accepted_by: null });
    expect(JSON.stringify(row)).not.toContain(code);
  });

  test('is for the owner; to strangers the account is as if it did not exist', async () => {
    const { id, memberIds } = await system.family(1);
    await expect(system.invite(id, memberIds[1]!)).rejects.toMatchObject({ slug: 'owner-only' });
    const stranger = await system.invite(id, uuid()).catch((error) => error);
    const nothing = await system.invite(uuid(), memberIds[0]!).catch((error) => error);
    expect(stranger).toMatchObject({ slug: 'family-account-not-found', kind: 'not-found' });
    expect([nothing.slug, nothing.message]).toEqual([stranger.slug, stranger.message]);
  });

  test('counts those that can still be used only', async () => {
    const { id, memberIds } = await system.family();
    const issue = (at: Date) => invite(system.em(), { familyAccountId: id, by: memberIds[0]! }, at);
    for (let n = 0; n < 10; n++) await issue(new Date(0));
    for (let n = 0; n < 10; n++) await issue(new Date());
    await expect(issue(new Date())).rejects.toMatchObject({ slug: 'too-many-invitations' });
    expect(await issue(new Date(Date.now() + 8 * 24 * 3_600_000))).toBeDefined();
  });
});

describe('Accepting an invitation', () => {
  test('makes a member, once however often it is asked', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const ben = uuid();
    await Promise.all([system.accept(code, ben), system.accept(code, ben)]);
    await system.accept(code, ben);
    expect(await system.membersOf(id)).toEqual({ ownerId: memberIds[0], memberIds: [memberIds[0], ben] });
    expect(await system.factsOf(id)).toEqual(['opened', 'member-joined', 'invitation-issued', 'member-joined']);
  });

  test('with a code that nobody issued is refused, and nobody asked', async () => {
    const before = system.member.asked.length;
    await expect(system.accept('x'.repeat(32), uuid())).rejects.toMatchObject({ slug: 'invitation-not-found' });
    expect(system.member.asked).toHaveLength(before);
  });

  test('asks about the member while nothing is locked, and leaves the invitation good when it refuses', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const ben = uuid();
    system.member.whenAsked = expectNobodyLocked;
    system.member.standings.set(ben, 'NOT_VERIFIED');
    await expect(system.accept(code, ben)).rejects.toMatchObject({ slug: 'identity-not-verified' });
    system.member.standings.set(ben, 'VERIFIED');
    await system.accept(code, ben);
  });

  test('at the same moment by two lets one of them in', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const outcomes = await Promise.allSettled([system.accept(code, uuid()), system.accept(code, uuid())]);
    expect(refusals(outcomes)).toEqual(['invitation-used']);
    expect((await system.membersOf(id)).memberIds).toHaveLength(2);
  });

  test('for the last place by two at the same moment, with an invitation each, makes five members', async () => {
    const { id, memberIds } = await system.family(3);
    const codes = [await system.invite(id, memberIds[0]!), await system.invite(id, memberIds[0]!)];
    const outcomes = await Promise.allSettled(codes.map((code) => system.accept(code, uuid())));
    expect(refusals(outcomes)).toEqual(['family-account-full']);
    expect((await system.membersOf(id)).memberIds).toHaveLength(5);
    expect((await system.factsOf(id)).filter((type) => type === 'member-joined')).toHaveLength(5);
  });

  test('to two accounts at the same moment makes somebody a member of one; the other invitation stays good', async () => {
    const families = [await system.family(), await system.family()];
    const codes = await Promise.all(families.map(({ id, memberIds }) => system.invite(id, memberIds[0]!)));
    const ben = uuid();
    const outcomes = await Promise.allSettled(codes.map((code) => system.accept(code, ben)));
    expect(refusals(outcomes)).toEqual(['already-in-family-account']);
    const refused = outcomes.findIndex(({ status }) => status === 'rejected');
    expect((await system.membersOf(families[refused]!.id)).memberIds).toEqual(families[refused]!.memberIds);
    expect(await system.factsOf(families[refused]!.id)).toEqual(['opened', 'member-joined', 'invitation-issued']);
    await system.accept(codes[refused]!, uuid());
  });
});
