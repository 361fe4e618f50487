import { v7 as uuid } from 'uuid';
import type { Restored, RestoreOptions } from '#eventing/restore';
import { events } from '../../../../services/family-account/events.ts';
import { system } from '../../../../services/family-account/system.ts';
import { endMembership } from '../../../../services/family-account/use-cases/end-membership.ts';
import { closeLostAccount, replayEvent } from '../../../../services/family-account/use-cases/replay-event.ts';
import { transferOwnership } from '../../../../services/family-account/use-cases/transfer-ownership.ts';
import * as support from '../../../support/snapshot.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

let families: FamilyAccountSystem;
beforeEach(async () => {
  families = await openFamilyAccountSystem();
  // A database without accounts would be rejected as the wrong one.
  await families.family();
});
afterEach(() => families[Symbol.asyncDispose]());

/**
 * Restores the database to the state before `lostChanges`, then replays the events that it lost.
 * @param laterChanges runs on the restored database before the replay
 */
function restoreAndReplay(
  lostChanges: () => Promise<unknown>,
  laterChanges?: () => Promise<unknown>,
): Promise<Restored> {
  const { database, orm, keyring } = families;
  const replay: RestoreOptions['replay'] = (em, event, isOver) => replayEvent(em, keyring, event, isOver);
  const options = { database, orm, system, events, replay, end: closeLostAccount };
  return support.restoredToBefore(options, lostChanges, laterChanges);
}

const leave = (familyAccountId: string, memberId: string, by = memberId) =>
  endMembership(families.em(), { familyAccountId, memberId, by });
const endReasonOf = async (memberId: string) =>
  (await families.database.sql('select end_reason from membership where member_id = $1', [memberId])).map(
    ({ end_reason }) => end_reason,
  );

test('lost joinings are replayed in their order, and the invitation is consumed', async () => {
  const { id, memberIds } = await families.family();
  const [first, second] = [uuid(), uuid()];
  const code = await families.invite(id, memberIds[0]!);
  await restoreAndReplay(async () => {
    await families.accept(code, first);
    await families.accept(await families.invite(id, memberIds[0]!), second);
  });
  expect(await families.membersOf(id)).toEqual({ ownerId: memberIds[0], memberIds: [...memberIds, first, second] });
  await expect(families.accept(code, uuid())).rejects.toMatchObject({ slug: 'invitation-used' });
  expect(await families.eventTypesOf(id)).toEqual([
    'opened',
    'member-joined',
    'invitation-issued',
    'member-joined',
    'invitation-issued',
    'member-joined',
    'restored',
  ]);
});

test('lost leaves and removals are replayed with their recorded reasons', async () => {
  const { id, memberIds } = await families.family(2);
  const [owner, second, third] = memberIds as [string, string, string];
  await restoreAndReplay(async () => {
    await leave(id, second);
    await leave(id, third, owner);
  });
  expect(await families.membersOf(id)).toEqual({ ownerId: owner, memberIds: [owner] });
  expect([...(await endReasonOf(second)), ...(await endReasonOf(third))]).toEqual(['LEFT', 'REMOVED']);
});

test('a lost ownership transfer is replayed', async () => {
  const { id, memberIds } = await families.family(1);
  const [owner, second] = memberIds as [string, string];
  await restoreAndReplay(() => transferOwnership(families.em(), { familyAccountId: id, memberId: second, by: owner }));
  expect((await families.membersOf(id)).ownerId).toBe(second);
});

test('a lost joining and the owner’s later leave make the new member the owner', async () => {
  const { id, memberIds } = await families.family();
  const second = uuid();
  await restoreAndReplay(async () => {
    await families.accept(await families.invite(id, memberIds[0]!), second);
    await leave(id, memberIds[0]!);
  });
  expect(await families.membersOf(id)).toEqual({ ownerId: second, memberIds: [second] });
});

test('a lost move between accounts is replayed, in either order of their ids', async () => {
  for (const [from, to] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const both = [await families.family(1), await families.family(1)] as const;
    const mover = both[from].memberIds[1]!;
    await restoreAndReplay(async () => {
      await leave(both[from].id, mover);
      await families.accept(await families.invite(both[to].id, both[to].memberIds[0]!), mover);
    });
    expect((await families.membersOf(both[from].id)).memberIds).not.toContain(mover);
    expect((await families.membersOf(both[to].id)).memberIds).toContain(mover);
  }
});

test('a lost closing is replayed as the last event, and the key is destroyed', async () => {
  const { id, memberIds } = await families.family();
  await restoreAndReplay(() => leave(id, memberIds[0]!));
  expect(await families.membersOf(id)).toEqual({ ownerId: null, memberIds: [] });
  const keys = 'select wrapped_key from eventing.encryption_key where aggregate_id = $1';
  expect(await families.database.sql(keys, [id])).toEqual([{ wrapped_key: null }]);
  expect((await families.eventTypesOf(id)).slice(2)).toEqual(['member-withdrawn', 'closed']);
});

test('a lost opening is replayed as a closed account without members', async () => {
  let opened = { id: '', memberIds: [''] };
  await restoreAndReplay(async () => {
    opened = await families.family(1);
  });
  expect(await families.membersOf(opened.id)).toEqual({ ownerId: null, memberIds: [] });
  expect((await families.eventTypesOf(opened.id)).slice(-2)).toEqual(['restored', 'closed']);
});

test('a lost opening with its closing is replayed as one closing', async () => {
  let id = '';
  await restoreAndReplay(async () => {
    const opened = await families.family();
    id = opened.id;
    await leave(id, opened.memberIds[0]!);
  });
  expect(await families.eventTypesOf(id)).toEqual(['opened', 'member-joined', 'member-withdrawn', 'closed']);
  expect(await families.membersOf(id)).toEqual({ ownerId: null, memberIds: [] });
});

test('a lost closing is replayed although other events have its sequence', async () => {
  const { id, memberIds } = await families.family();
  const [owner] = memberIds as [string];
  await restoreAndReplay(
    () => leave(id, owner),
    async () => {
      await families.accept(await families.invite(id, owner), uuid());
    },
  );
  expect(await families.membersOf(id)).toEqual({ ownerId: null, memberIds: [] });
  expect((await families.eventTypesOf(id)).slice(-5)).toEqual([
    'restored',
    'member-withdrawn',
    'owner-changed',
    'member-withdrawn',
    'closed',
  ]);
});

test('a lost joining and transfer are skipped for a member of another account', async () => {
  const [one, two] = [await families.family(), await families.family()];
  const mover = uuid();
  await restoreAndReplay(
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
