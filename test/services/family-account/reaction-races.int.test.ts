import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Standing } from '../../../services/family-account/member-system.ts';
import { endMembership } from '../../../services/family-account/use-cases/end-membership.ts';
import { openFamilyAccount } from '../../../services/family-account/use-cases/open-family-account.ts';
import { eventually } from '../../support/eventually.ts';
import { deferredOf, deliver, isMember, memberEvent, released, system } from './reactions.ts';

/** Histories of a member: its final standing, then its event types. */
const HISTORIES: readonly (readonly [Standing, ...string[]])[] = [
  ['VERIFIED', 'registered', 'identity-verified'],
  ['NOT_VERIFIED', 'registered', 'identity-verified', 'identity-verification-released'],
  ['VERIFIED', 'registered', 'identity-verified', 'identity-verification-released', 'identity-verified'],
  ['WITHDRAWN', 'registered', 'identity-verified', 'logged-in', 'withdrawn'],
  ['WITHDRAWN', 'registered', 'identity-verified', 'identity-verification-released', 'withdrawn'],
];

test('Event order, repeats and arrival before or after joining do not change the outcome', async () => {
  const history = fc.record({ of: fc.constantFrom(...HISTORIES), receivedBeforeJoining: fc.nat(4) });
  await fc.assert(
    fc.asyncProperty(fc.array(history, { minLength: 1, maxLength: 3 }), fc.gen(), async (plan, g) => {
      const shuffled = <T>(all: readonly T[]): T[] =>
        g(fc.shuffledSubarray<number>, [...all.keys()], { minLength: all.length }).map((at) => all[at]!);
      const members = plan.map(({ of: [standing, ...types], receivedBeforeJoining }) => {
        const memberId = uuid();
        const events = types.map((type, index) => memberEvent(memberId, index + 1, `member.${type}`));
        return { memberId, standing, events, early: events.slice(0, receivedBeforeJoining) };
      });
      const [founder, ...others] = members as [(typeof members)[number], ...typeof members];
      const joining = async <T>({ memberId, standing, early }: typeof founder, join: () => Promise<T>): Promise<T> => {
        // The member is verified at the request; its other early events arrive before the joining commits.
        system.member.beforeAnswer = async () => {
          system.member.beforeAnswer = () => undefined;
          await deliver('member-external', early);
        };
        const joined = await join();
        system.member.standings.set(memberId, standing);
        return joined;
      };
      const { account } = await joining(founder, () =>
        openFamilyAccount(system.em(), system.member, { name: 'Home', ownerId: founder.memberId }),
      );
      for (const it of others) {
        const code = await system.invite(account.id, founder.memberId);
        await joining(it, () => system.accept(code, it.memberId));
      }

      const own = await system.messagesOf(account.id);
      const published = [
        ...members.flatMap(({ events }) => events.map((event) => ['member-external', event] as const)),
        ...own.map((event) => ['family-account-internal', event] as const),
      ];
      const deliveries = shuffled([...published, ...published]);
      const batchSize = g(fc.integer, { min: 1, max: 3 });
      while (deliveries.length > 0)
        await Promise.all(deliveries.splice(0, batchSize).map(([topic, event]) => deliver(topic, [event])));
      const ids = [account.id, ...members.map(({ memberId }) => memberId)];
      const expectNothingDeferred = async () => expect((await Promise.all(ids.map(deferredOf))).flat()).toEqual([]);
      await eventually(expectNothingDeferred);
      await deliver('family-account-internal', shuffled(await system.messagesOf(account.id)));
      await eventually(expectNothingDeferred);

      const left = members.filter(({ standing }) => standing === 'VERIFIED').map(({ memberId }) => memberId);
      expect(await system.membersOf(account.id)).toEqual({ ownerId: left[0] ?? null, memberIds: left });
      const eventTypes = await system.eventTypesOf(account.id);
      expect(eventTypes.filter((type) => type === 'member-withdrawn')).toHaveLength(members.length - left.length);
      expect(eventTypes.includes('closed')).toBe(left.length === 0);
      const externalMessages = await system.database.sql<{ sequence: number }>(
        `select (envelope ->> 'sequence')::int as sequence from eventing.outbox
          where ordering_key = $1 and channel = 'external' order by position`,
        [account.id],
      );
      expect(externalMessages.map(({ sequence }) => sequence)).toEqual(eventTypes.map((_, index) => index + 1));
      const cursors = await system.database.sql<{ aggregate_id: string; last_sequence: string }>(
        `select aggregate_id, last_sequence from eventing.cursor where consumer = 'membership' and aggregate_id = any($1)`,
        [members.map(({ memberId }) => memberId)],
      );
      expect(new Map(cursors.map((it) => [it.aggregate_id, Number(it.last_sequence)]))).toEqual(
        new Map(members.map((it) => [it.memberId, it.events.length])),
      );
    }),
    { numRuns: 12 },
  );
});

describe('Joining while the verification is being released', () => {
  test('ends the membership after the commit, even if the release event came before', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const ben = uuid();
    system.member.beforeAnswer = async () => {
      // Ben is verified at the request; his release is committed and received here before his joining commits.
      system.member.beforeAnswer = () => undefined;
      await deliver('member-external', [released(ben)]);
    };
    await system.accept(code, ben);
    expect(await isMember(id, ben)).toBe(true);
    system.member.standings.set(ben, 'NOT_VERIFIED');
    await deliver('family-account-internal', await system.messagesOf(id));
    expect(await isMember(id, ben)).toBe(false);
  });

  test('closes a new account whose founder was released', async () => {
    const { id, memberIds } = await system.family();
    system.member.standings.set(memberIds[0]!, 'NOT_VERIFIED');
    await deliver('family-account-internal', await system.messagesOf(id));
    expect((await system.eventTypesOf(id)).at(-1)).toBe('closed');
    // The values of its events are erased by now, so there is nothing left to check.
    await deliver('family-account-internal', await system.messagesOf(id));
    expect(await deferredOf(id)).toEqual([]);
  });
});

test('An answer about an ended membership does not end a later one', async () => {
  const { id, memberIds } = await system.family(1);
  const [anna, ben] = memberIds as [string, string];
  const code = await system.invite(id, anna);
  system.member.beforeAnswer = async () => {
    // Before the answer arrives, Ben leaves and joins again.
    system.member.beforeAnswer = () => undefined;
    await endMembership(system.em(), { familyAccountId: id, memberId: ben, by: ben });
    await system.accept(code, ben);
    system.member.standings.set(ben, 'NOT_VERIFIED');
  };
  await deliver('member-external', [released(ben)]);
  expect(await isMember(id, ben)).toBe(true);
});

test('Concurrent deliveries with failures end exactly the memberships that have to end', async () => {
  const families = await Promise.all(Array.from({ length: 4 }, () => system.family(4)));
  const events: ReceivedEvent[] = [];
  const leaving: string[] = [];
  for (const { memberIds } of families) {
    for (const memberId of memberIds.slice(0, 3)) {
      system.member.standings.set(memberId, 'NOT_VERIFIED');
      leaving.push(memberId);
      events.push(memberEvent(memberId, 2, 'member.logged-in'), released(memberId, 1), released(memberId, 3));
    }
  }
  let requests = 0;
  system.member.beforeAnswer = () => {
    if (requests++ % 4 === 0) throw Object.assign(new Error('unreachable for a moment'), { outage: true });
  };
  const own = (await Promise.all(families.map(({ id }) => system.messagesOf(id)))).flat();
  await Promise.all([
    ...[...events, ...events].map((event) => deliver('member-external', [event])),
    ...own.map((event) => deliver('family-account-internal', [event])),
  ]);
  await eventually(
    async () => {
      const left = await system.database.sql('select 1 from eventing.kept_delivery');
      expect(left).toEqual([]);
    },
    { timeoutMs: 30_000 },
  );
  for (const { id, memberIds } of families) {
    const rest = memberIds.filter((memberId) => !leaving.includes(memberId));
    expect(await system.membersOf(id)).toEqual({ ownerId: rest[0], memberIds: rest });
    const eventTypes = await system.eventTypesOf(id);
    expect(eventTypes.filter((type) => type === 'member-withdrawn')).toHaveLength(3);
    expect(eventTypes).not.toContain('closed');
  }
});
