import { endOtherSessionsOfMember } from '../../../../services/member/use-cases/end-other-sessions-of-member.ts';
import { logOut } from '../../../../services/member/use-cases/log-out.ts';
import type { MemberSystem } from '../support.ts';
import { openReplayFixture, type ReplayFixture } from './replay.ts';

let members: MemberSystem;
let restoreAndReplay: ReplayFixture['restoreAndReplay'];
let eventTypesOf: ReplayFixture['eventTypesOf'];
let sessionsOf: ReplayFixture['sessionsOf'];
beforeEach(async () => {
  ({ members, restoreAndReplay, eventTypesOf, sessionsOf } = await openReplayFixture());
});
afterEach(() => members[Symbol.asyncDispose]());

test('an ended session stays ended, with its recorded reason', async () => {
  const anna = await members.register();
  const { number } = await members.open(anna.id, 'phone');
  await restoreAndReplay(() => logOut(members.em(), { memberId: anna.id, number }));
  expect(await sessionsOf(anna.id)).toEqual([{ number, device_id: 'phone', logout_reason: 'SELF' }]);
  expect(await eventTypesOf(anna.id)).toEqual(['registered', 'logged-in', 'logged-out', 'restored']);
});

test('a lost session is replayed as ended, and the sessions that it superseded end too', async () => {
  const anna = await members.register();
  const before = await members.open(anna.id, 'phone');
  let lost = 0;
  await restoreAndReplay(async () => {
    lost = (await members.open(anna.id, 'tablet')).number;
  });
  // As the worker does when it receives the login event again.
  await members.em().transactional((em) => endOtherSessionsOfMember(em, anna.id));
  expect(await sessionsOf(anna.id)).toEqual([
    { number: before.number, device_id: 'phone', logout_reason: 'OTHER_DEVICE' },
    { number: lost, device_id: 'tablet', logout_reason: 'RESTORED' },
  ]);
  expect((await eventTypesOf(anna.id)).slice(2)).toEqual(['logged-in', 'restored', 'logged-out', 'logged-out']);
});

test('a lost session that had ended is replayed without further events', async () => {
  const anna = await members.register();
  let number = 0;
  await restoreAndReplay(async () => {
    number = (await members.open(anna.id, 'tablet')).number;
    await logOut(members.em(), { memberId: anna.id, number });
  });
  expect(await sessionsOf(anna.id)).toEqual([{ number, device_id: 'tablet', logout_reason: 'SELF' }]);
  expect(await eventTypesOf(anna.id)).toEqual(['registered', 'logged-in', 'logged-out', 'restored']);
});

test('a new session gets no number of a lost one', async () => {
  const anna = await members.register();
  const numbers: number[] = [];
  await restoreAndReplay(async () => {
    for (let i = 0; i < 40; i++) numbers.push((await members.open(anna.id)).number);
  });
  const next = await members.open(anna.id);
  expect(next.number).toBeGreaterThan(Math.max(...numbers));
  expect(await members.liveSessionsOf(anna.id)).toEqual([next.number]);
});

test('a new session gets no number of a lost member’s sessions', async () => {
  const anna = await members.register();
  const before = await members.open(anna.id);
  await restoreAndReplay(async () => {
    const { id } = await members.register();
    for (let i = 0; i < 5; i++) await members.open(id);
  });
  expect((await members.open(anna.id)).number).toBeGreaterThan(before.number + 5);
});
