import { v7 as uuid } from 'uuid';
import { endMembership } from '../../../../services/family-account/use-cases/end-membership.ts';
import { openFamilyAccount } from '../../../../services/family-account/use-cases/open-family-account.ts';
import {
  findFamilyAccountOf,
  readFamilyAccount,
} from '../../../../services/family-account/use-cases/read-family-account.ts';
import { transferOwnership } from '../../../../services/family-account/use-cases/transfer-ownership.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

let system: FamilyAccountSystem;
beforeAll(async () => {
  system = await openFamilyAccountSystem();
});
afterAll(() => system[Symbol.asyncDispose]());

const end = (familyAccountId: string, memberId: string, by = memberId) =>
  endMembership(system.em(), { familyAccountId, memberId, by });
const read = (id: string, reader?: string) => readFamilyAccount(system.em(), { id, reader });

describe('Leaving', () => {
  test('as the owner hands the account over to the longest-standing member', async () => {
    const { id, memberIds } = await system.family(2);
    const [anna, ben, cho] = memberIds as [string, string, string];
    await end(id, anna);
    expect(await system.membersOf(id)).toEqual({ ownerId: ben, memberIds: [ben, cho] });
    expect((await system.factsOf(id)).slice(-2)).toEqual(['member-withdrawn', 'owner-changed']);
  });

  test('as the last one closes the account, and everything that it was called is erased', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    await end(id, memberIds[0]!);
    expect(await system.database.sql('select status, name, owner_id from family_account where id = $1', [id])).toEqual([
      { status: 'CLOSED', name: null, owner_id: null },
    ]);
    expect((await system.factsOf(id)).slice(-2)).toEqual(['member-withdrawn', 'closed']);
    const [opened] = await system.messagesOf(id);
    expect(await system.keyring.reveal(system.em(), opened!, opened!.data.attributes)).toEqual({
      name: 'erased',
      ownerId: 'erased',
      status: 'erased',
    });
    await expect(system.accept(code, uuid())).rejects.toMatchObject({ slug: 'family-account-closed' });
  });

  test('makes room for another family', async () => {
    const { id, memberIds } = await system.family(1);
    await end(id, memberIds[1]!);
    const { account } = await openFamilyAccount(system.em(), system.member, { name: 'New', ownerId: memberIds[1]! });
    expect((await findFamilyAccountOf(system.em(), memberIds[1]!))?.account.id).toBe(account.id);
  });

  test('at the same moment by all of them closes the account once', async () => {
    const { id, memberIds } = await system.family(4);
    await Promise.all(memberIds.map((memberId) => end(id, memberId)));
    const facts = await system.factsOf(id);
    expect(facts.at(-1)).toBe('closed');
    expect(facts.filter((type) => type === 'closed')).toHaveLength(1);
    expect(facts.filter((type) => type === 'member-withdrawn')).toHaveLength(5);
  });

  test('while somebody joins leaves an open account with an owner who is a member', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const ben = uuid();
    const [joined] = await Promise.allSettled([system.accept(code, ben), end(id, memberIds[0]!)]);
    const { account, members } = await read(id);
    if (joined.status === 'rejected') {
      expect(joined.reason).toMatchObject({ slug: 'family-account-closed' });
      expect([account.status, members]).toEqual(['CLOSED', []]);
    } else {
      expect([account.status, account.ownerId, members.length]).toEqual(['OPEN', ben, 1]);
    }
  });
});

describe('Removing a member', () => {
  test('is for the owner, and stated as such', async () => {
    const { id, memberIds } = await system.family(2);
    const [anna, ben, cho] = memberIds as [string, string, string];
    await expect(end(id, cho, ben)).rejects.toMatchObject({ slug: 'owner-only' });
    await end(id, cho, anna);
    expect((await system.membersOf(id)).memberIds).toEqual([anna, ben]);
    expect(await system.database.sql('select end_reason from membership where member_id = $1', [cho])).toEqual([
      { end_reason: 'REMOVED' },
    ]);
  });

  test('who is none is refused, and to strangers the account is as if it did not exist', async () => {
    const { id, memberIds } = await system.family();
    const facts = await system.factsOf(id);
    await expect(end(id, uuid(), memberIds[0])).rejects.toMatchObject({ slug: 'membership-not-found' });
    await expect(end(id, memberIds[0]!, uuid())).rejects.toMatchObject({ slug: 'family-account-not-found' });
    expect(await system.factsOf(id)).toEqual(facts);
  });
});

describe('Transferring ownership', () => {
  test('makes another member the owner; the former one stays', async () => {
    const { id, memberIds } = await system.family(1);
    const [anna, ben] = memberIds as [string, string];
    await transferOwnership(system.em(), { familyAccountId: id, memberId: ben, by: anna });
    expect(await system.membersOf(id)).toEqual({ ownerId: ben, memberIds });
    expect((await system.factsOf(id)).at(-1)).toBe('owner-changed');
    const again = transferOwnership(system.em(), { familyAccountId: id, memberId: ben, by: anna });
    await expect(again).rejects.toMatchObject({ slug: 'owner-only' });
  });

  test('to somebody who leaves at the same moment never makes an owner of a stranger', async () => {
    const { id, memberIds } = await system.family(1);
    const [anna, ben] = memberIds as [string, string];
    await Promise.allSettled([
      transferOwnership(system.em(), { familyAccountId: id, memberId: ben, by: anna }),
      end(id, ben),
    ]);
    expect(await system.membersOf(id)).toEqual({ ownerId: anna, memberIds: [anna] });
  });
});

describe('Reading', () => {
  test('is for its members; to others the account is as if it did not exist', async () => {
    const { id, memberIds } = await system.family(1);
    expect((await read(id, memberIds[1])).members.map(({ memberId }) => memberId)).toEqual(memberIds);
    const stranger = await read(id, uuid()).catch((error) => error);
    const nothing = await read(uuid(), memberIds[0]).catch((error) => error);
    expect(stranger).toMatchObject({ slug: 'family-account-not-found' });
    expect([nothing.slug, nothing.message]).toEqual([stranger.slug, stranger.message]);
    await end(id, memberIds[1]!);
    await expect(read(id, memberIds[1])).rejects.toMatchObject({ slug: 'family-account-not-found' });
  });

  test('by somebody who may see all finds closed accounts, too', async () => {
    const { id, memberIds } = await system.family();
    await end(id, memberIds[0]!);
    expect(await read(id)).toMatchObject({ account: { id, status: 'CLOSED' }, members: [] });
  });

  test('finds one’s own account, if there is one', async () => {
    const { id, memberIds } = await system.family(1);
    expect((await findFamilyAccountOf(system.em(), memberIds[1]!))?.account.id).toBe(id);
    expect(await findFamilyAccountOf(system.em(), uuid())).toBeUndefined();
  });
});
