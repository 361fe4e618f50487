import { v7 as uuid } from 'uuid';
import type { Restored, RestoreOptions } from '#eventing/restore';
import { events } from '../../../../services/family-account/events.ts';
import { system } from '../../../../services/family-account/system.ts';
import { endMembership } from '../../../../services/family-account/use-cases/end-membership.ts';
import { closeLostAccount, recallFact } from '../../../../services/family-account/use-cases/recall-fact.ts';
import { transferOwnership } from '../../../../services/family-account/use-cases/transfer-ownership.ts';
import * as support from '../../../support/snapshot.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

let families: FamilyAccountSystem;
beforeEach(async () => {
  families = await openFamilyAccountSystem();
  // A database that knows none would be taken for the wrong one.
  await families.family();
});
afterEach(() => families[Symbol.asyncDispose]());

/** Restores the database to the moment before something happened, and puts it right. */
function restoredToBefore(happens: () => Promise<unknown>, andThen?: () => Promise<unknown>): Promise<Restored> {
  const { database, orm, keyring } = families;
  const recall: RestoreOptions['recall'] = (em, fact, isOver) => recallFact(em, keyring, fact, isOver);
  return support.restoredToBefore({ database, orm, system, events, recall, end: closeLostAccount }, happens, andThen);
}

const leave = (familyAccountId: string, memberId: string, by = memberId) =>
  endMembership(families.em(), { familyAccountId, memberId, by });
const endReasonOf = async (memberId: string) =>
  (await families.database.sql('select end_reason from membership where member_id = $1', [memberId])).map(
    ({ end_reason }) => end_reason,
  );

test('who has joined belongs to it, in the order of joining, and the invitation is used up', async () => {
  const { id, memberIds } = await families.family();
  const [first, second] = [uuid(), uuid()];
  const code = await families.invite(id, memberIds[0]!);
  await restoredToBefore(async () => {
    await families.accept(code, first);
    await families.accept(await families.invite(id, memberIds[0]!), second);
  });
  expect(await families.membersOf(id)).toEqual({ ownerId: memberIds[0], memberIds: [...memberIds, first, second] });
  await expect(families.accept(code, uuid())).rejects.toMatchObject({ slug: 'invitation-used' });
  expect(await families.factsOf(id)).toEqual([
    'opened',
    'member-joined',
    'invitation-issued',
    'member-joined',
    'invitation-issued',
    'member-joined',
    'restored',
  ]);
});

test('who has left or was removed does not belong to it any more, for the reason that was stated', async () => {
  const { id, memberIds } = await families.family(2);
  const [owner, second, third] = memberIds as [string, string, string];
  await restoredToBefore(async () => {
    await leave(id, second);
    await leave(id, third, owner);
  });
  expect(await families.membersOf(id)).toEqual({ ownerId: owner, memberIds: [owner] });
  expect([...(await endReasonOf(second)), ...(await endReasonOf(third))]).toEqual(['LEFT', 'REMOVED']);
});

test('an account that was handed over is its new owner’s', async () => {
  const { id, memberIds } = await families.family(1);
  const [owner, second] = memberIds as [string, string];
  await restoredToBefore(() => transferOwnership(families.em(), { familyAccountId: id, memberId: second, by: owner }));
  expect((await families.membersOf(id)).ownerId).toBe(second);
});

test('an account that somebody joined before its owner left is that member’s', async () => {
  const { id, memberIds } = await families.family();
  const second = uuid();
  await restoredToBefore(async () => {
    await families.accept(await families.invite(id, memberIds[0]!), second);
    await leave(id, memberIds[0]!);
  });
  expect(await families.membersOf(id)).toEqual({ ownerId: second, memberIds: [second] });
});

test('who left one account for another belongs to the other, whichever comes first', async () => {
  for (const [from, to] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const both = [await families.family(1), await families.family(1)] as const;
    const mover = both[from].memberIds[1]!;
    await restoredToBefore(async () => {
      await leave(both[from].id, mover);
      await families.accept(await families.invite(both[to].id, both[to].memberIds[0]!), mover);
    });
    expect((await families.membersOf(both[from].id)).memberIds).not.toContain(mover);
    expect((await families.membersOf(both[to].id)).memberIds).toContain(mover);
  }
});

test('a closed account is closed, and says nothing any more', async () => {
  const { id, memberIds } = await families.family();
  await restoredToBefore(() => leave(id, memberIds[0]!));
  expect(await families.membersOf(id)).toEqual({ ownerId: null, memberIds: [] });
  const keys = 'select wrapped_key from eventing.encryption_key where aggregate_id = $1';
  expect(await families.database.sql(keys, [id])).toEqual([{ wrapped_key: null }]);
  expect((await families.factsOf(id)).slice(2)).toEqual(['member-withdrawn', 'closed']);
});

test('an account that was opened since is closed: nobody knows who belonged to it; its owner may open another', async () => {
  let opened = { id: '', memberIds: [''] };
  await restoredToBefore(async () => {
    opened = await families.family(1);
  });
  expect(await families.membersOf(opened.id)).toEqual({ ownerId: null, memberIds: [] });
  expect((await families.factsOf(opened.id)).slice(-2)).toEqual(['restored', 'closed']);
});

test('an account that was opened and closed since is closed once', async () => {
  let id = '';
  await restoredToBefore(async () => {
    const opened = await families.family();
    id = opened.id;
    await leave(id, opened.memberIds[0]!);
  });
  expect(await families.factsOf(id)).toEqual(['opened', 'member-joined', 'member-withdrawn', 'closed']);
  expect(await families.membersOf(id)).toEqual({ ownerId: null, memberIds: [] });
});

test('an account that was closed is closed, although something else has been stated in its place', async () => {
  const { id, memberIds } = await families.family();
  const [owner] = memberIds as [string];
  await restoredToBefore(
    () => leave(id, owner),
    async () => {
      await families.accept(await families.invite(id, owner), uuid());
    },
  );
  expect(await families.membersOf(id)).toEqual({ ownerId: null, memberIds: [] });
  expect((await families.factsOf(id)).slice(-5)).toEqual([
    'restored',
    'member-withdrawn',
    'owner-changed',
    'member-withdrawn',
    'closed',
  ]);
});

test('who belongs to another account since does not join, nor own what was handed over to them', async () => {
  const [one, two] = [await families.family(), await families.family()];
  const mover = uuid();
  await restoredToBefore(
    async () => {
      await families.accept(await families.invite(one.id, one.memberIds[0]!), mover);
      await transferOwnership(families.em(), { familyAccountId: one.id, memberId: mover, by: one.memberIds[0]! });
    },
    async () => {
      await families.accept(await families.invite(two.id, two.memberIds[0]!), mover);
    },
  );
  expect(await families.membersOf(one.id)).toEqual({ ownerId: one.memberIds[0], memberIds: one.memberIds });
  expect((await families.membersOf(two.id)).memberIds).toContain(mover);
});
