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
  test('hands an owner’s account over to the longest-standing member', async () => {
    const { id, memberIds } = await system.family(2);
    const [anna, ben, cho] = memberIds as [string, string, string];
    await end(id, anna);
    expect(await system.membersOf(id)).toEqual({ ownerId: ben, memberIds: [ben, cho] });
    expect((await system.eventTypesOf(id)).slice(-2)).toEqual(['member-withdrawn', 'owner-changed']);
  });

  test('closes the account and erases its values with the last member', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    await end(id, memberIds[0]!);
    expect(await system.database.sql('select status, name, owner_id from family_account where id = $1', [id])).toEqual([
      { status: 'CLOSED', name: null, owner_id: null },
    ]);
    expect((await system.eventTypesOf(id)).slice(-2)).toEqual(['member-withdrawn', 'closed']);
    const [opened] = await system.messagesOf(id);
    expect(await system.keyring.reveal(system.em(), opened!, opened!.data.attributes)).toEqual({
      name: 'erased',
      ownerId: 'erased',
      status: 'erased',
    });
    await expect(system.accept(code, uuid())).rejects.toMatchObject({ slug: 'family-account-closed' });
  });

  test('lets the member open another account', async () => {
    const { id, memberIds } = await system.family(1);
    await end(id, memberIds[1]!);
    const { account } = await openFamilyAccount(system.em(), system.member, { name: 'New', ownerId: memberIds[1]! });
    expect((await findFamilyAccountOf(system.em(), memberIds[1]!))?.account.id).toBe(account.id);
  });

  test('closes the account once when all members leave concurrently', async () => {
    const { id, memberIds } = await system.family(4);
    await Promise.all(memberIds.map((memberId) => end(id, memberId)));
    const eventTypes = await system.eventTypesOf(id);
    expect(eventTypes.at(-1)).toBe('closed');
    expect(eventTypes.filter((type) => type === 'closed')).toHaveLength(1);
    expect(eventTypes.filter((type) => type === 'member-withdrawn')).toHaveLength(5);
  });

  test('leaves an open account with a valid owner while another person joins', async () => {
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
  test('is allowed to the owner only, and recorded with its reason', async () => {
    const { id, memberIds } = await system.family(2);
    const [anna, ben, cho] = memberIds as [string, string, string];
    await expect(end(id, cho, ben)).rejects.toMatchObject({ slug: 'owner-only' });
    await end(id, cho, anna);
    expect((await system.membersOf(id)).memberIds).toEqual([anna, ben]);
    expect(await system.database.sql('select end_reason from membership where member_id = $1', [cho])).toEqual([
      { end_reason: 'REMOVED' },
    ]);
  });

  test('rejects a person who is not a member, and hides the account from outsiders', async () => {
    const { id, memberIds } = await system.family();
    const eventTypes = await system.eventTypesOf(id);
    await expect(end(id, uuid(), memberIds[0])).rejects.toMatchObject({ slug: 'membership-not-found' });
    await expect(end(id, memberIds[0]!, uuid())).rejects.toMatchObject({ slug: 'family-account-not-found' });
    expect(await system.eventTypesOf(id)).toEqual(eventTypes);
  });
});

describe('Transferring ownership', () => {
  test('makes another member the owner and keeps the former one', async () => {
    const { id, memberIds } = await system.family(1);
    const [anna, ben] = memberIds as [string, string];
    await transferOwnership(system.em(), { familyAccountId: id, memberId: ben, by: anna });
    expect(await system.membersOf(id)).toEqual({ ownerId: ben, memberIds });
    expect((await system.eventTypesOf(id)).at(-1)).toBe('owner-changed');
    const again = transferOwnership(system.em(), { familyAccountId: id, memberId: ben, by: anna });
    await expect(again).rejects.toMatchObject({ slug: 'owner-only' });
  });

  test('keeps the owner a member when the new owner leaves concurrently', async () => {
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
  test('is allowed to members only; others get not-found', async () => {
    const { id, memberIds } = await system.family(1);
    expect((await read(id, memberIds[1])).members.map(({ memberId }) => memberId)).toEqual(memberIds);
    const outsider = await read(id, uuid()).catch((error) => error);
    const unknown = await read(uuid(), memberIds[0]).catch((error) => error);
    expect(outsider).toMatchObject({ slug: 'family-account-not-found' });
    expect([unknown.slug, unknown.message]).toEqual([outsider.slug, outsider.message]);
    await end(id, memberIds[1]!);
    await expect(read(id, memberIds[1])).rejects.toMatchObject({ slug: 'family-account-not-found' });
  });

  test('finds closed accounts for a caller without restrictions', async () => {
    const { id, memberIds } = await system.family();
    await end(id, memberIds[0]!);
    expect(await read(id)).toMatchObject({ account: { id, status: 'CLOSED' }, members: [] });
  });

  test('finds a member’s own account, if there is one', async () => {
    const { id, memberIds } = await system.family(1);
    expect((await findFamilyAccountOf(system.em(), memberIds[1]!))?.account.id).toBe(id);
    expect(await findFamilyAccountOf(system.em(), uuid())).toBeUndefined();
  });
});
