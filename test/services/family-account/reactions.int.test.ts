import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { Inbox } from '#eventing/inbox';
import { DependencyUnavailable } from '#service/errors';
import { eventsIn } from '../../../services/family-account/events-in.ts';
import type { Standing } from '../../../services/family-account/member-system.ts';
import { endMembership } from '../../../services/family-account/use-cases/end-membership.ts';
import { openFamilyAccount } from '../../../services/family-account/use-cases/open-family-account.ts';
import { eventually } from '../../support/eventually.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from './support.ts';

let system: FamilyAccountSystem;
let topics: ReturnType<typeof eventsIn>;
let inbox: Inbox;
const note = () => undefined;
beforeAll(async () => {
  system = await openFamilyAccountSystem();
  topics = eventsIn(system);
  inbox = new Inbox(system.orm, { log: { warn: note, error: note } });
  inbox.start(Object.values(topics).flatMap(({ consumers = [] }) => consumers));
});
afterAll(async () => {
  await inbox[Symbol.asyncDispose]();
  await system[Symbol.asyncDispose]();
});
beforeEach(() => {
  system.member.whenAsked = () => undefined;
});

/** Brings events to everybody in this process who hears the topic, as daprd would. */
async function bring(topic: string, events: readonly ReceivedEvent[]): Promise<void> {
  const { recorder, consumers = [] } = topics[topic]!;
  for (const event of events) {
    await Promise.all([
      recorder?.cameBack(event.messageId),
      ...consumers.map((consumer) => inbox.deliver(consumer, event)),
    ]);
  }
}

/** What the member system says of a member on its external topic. */
function fact(memberId: string, sequence: number, eventType: string): ReceivedEvent {
  const time = new Date().toISOString();
  return {
    messageId: uuid(),
    eventId: uuid(),
    type: eventType,
    source: '/member',
    aggregateId: memberId,
    sequence,
    target: 'ALL',
    time,
    traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
    data: { memberId, eventType, attributeTypes: [], occurredAt: time },
  };
}

const released = (memberId: string, sequence = 1) => fact(memberId, sequence, 'member.identity-verification-released');
const isMember = async (id: string, memberId: string) => (await system.membersOf(id)).memberIds.includes(memberId);
const keptOf = (aggregateId: string) =>
  system.database.sql('select state, attempts from eventing.kept_delivery where aggregate_id = $1', [aggregateId]);

describe('A member whose verification was released', () => {
  test('loses the membership, in the trace of that event', async () => {
    const { id, memberIds } = await system.family(1);
    const ben = memberIds[1]!;
    system.member.standings.set(ben, 'NOT_VERIFIED');
    const event = released(ben);
    await bring('member-external', [event, event]);
    expect((await system.membersOf(id)).memberIds).toEqual([memberIds[0]]);
    const [ended] = await system.database.sql('select end_reason from membership where member_id = $1', [ben]);
    expect(ended).toEqual({ end_reason: 'IDENTITY_NOT_VERIFIED' });
    const facts = await system.database.sql(
      `select requested_by, traceparent from eventing.event_store
        where aggregate_id = $1 and event_type = 'family-account.member-withdrawn'`,
      [id],
    );
    expect(facts).toEqual([{ requested_by: 'membership', traceparent: event.traceparent }]);
  });

  test('and is verified again by now keeps it: the newest state counts', async () => {
    const { id, memberIds } = await system.family(1);
    await bring('member-external', [released(memberIds[1]!)]);
    expect(await isMember(id, memberIds[1]!)).toBe(true);
  });

  test('and belongs to no family account is not asked about', async () => {
    const stranger = uuid();
    await bring('member-external', [released(stranger)]);
    expect(system.member.asked).not.toContain(stranger);
  });
});

test('Who has withdrawn as a member loses the membership; an owner’s account goes to the longest-standing member', async () => {
  const { id, memberIds } = await system.family(2);
  const [anna, ben, cho] = memberIds as [string, string, string];
  system.member.standings.set(anna, 'WITHDRAWN');
  await bring('member-external', [fact(anna, 1, 'member.registered'), fact(anna, 2, 'member.withdrawn')]);
  expect(await system.membersOf(id)).toEqual({ ownerId: ben, memberIds: [ben, cho] });
  const [ended] = await system.database.sql('select end_reason from membership where member_id = $1', [anna]);
  expect(ended).toEqual({ end_reason: 'MEMBER_WITHDRAWN' });
});

/** What has happened to a member by the end, and what the member system says of it then. */
const HISTORIES: readonly (readonly [Standing, ...string[]])[] = [
  ['VERIFIED', 'registered', 'identity-verified'],
  ['NOT_VERIFIED', 'registered', 'identity-verified', 'identity-verification-released'],
  ['VERIFIED', 'registered', 'identity-verified', 'identity-verification-released', 'identity-verified'],
  ['WITHDRAWN', 'registered', 'identity-verified', 'logged-in', 'withdrawn'],
  ['WITHDRAWN', 'registered', 'identity-verified', 'identity-verification-released', 'withdrawn'],
];

test('The order in which events arrive changes nothing, nor how often they do, nor whether before or after the joining', async () => {
  const history = fc.record({ of: fc.constantFrom(...HISTORIES), heardBeforeJoining: fc.nat(4) });
  await fc.assert(
    fc.asyncProperty(fc.array(history, { minLength: 1, maxLength: 3 }), fc.gen(), async (plan, g) => {
      const shuffled = <T>(all: readonly T[]): T[] =>
        g(fc.shuffledSubarray<number>, [...all.keys()], { minLength: all.length }).map((at) => all[at]!);
      const members = plan.map(({ of: [standing, ...types], heardBeforeJoining }) => {
        const memberId = uuid();
        const facts = types.map((type, index) => fact(memberId, index + 1, `member.${type}`));
        return { memberId, standing, facts, early: facts.slice(0, heardBeforeJoining) };
      });
      const [founder, ...others] = members as [(typeof members)[number], ...typeof members];
      const joining = async <T>({ memberId, standing, early }: typeof founder, join: () => Promise<T>): Promise<T> => {
        // It is verified when it is asked about; all else that happens to it does before its joining is committed.
        system.member.whenAsked = async () => {
          system.member.whenAsked = () => undefined;
          await bring('member-external', early);
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
      const told = [
        ...members.flatMap(({ facts }) => facts.map((event) => ['member-external', event] as const)),
        ...own.map((event) => ['family-account-internal', event] as const),
      ];
      const deliveries = shuffled([...told, ...told]);
      const atOnce = g(fc.integer, { min: 1, max: 3 });
      while (deliveries.length > 0)
        await Promise.all(deliveries.splice(0, atOnce).map(([topic, event]) => bring(topic, [event])));
      const ids = [account.id, ...members.map(({ memberId }) => memberId)];
      const allAreDone = async () => expect((await Promise.all(ids.map(keptOf))).flat()).toEqual([]);
      await eventually(allAreDone);
      await bring('family-account-internal', shuffled(await system.messagesOf(account.id)));
      await eventually(allAreDone);

      const left = members.filter(({ standing }) => standing === 'VERIFIED').map(({ memberId }) => memberId);
      expect(await system.membersOf(account.id)).toEqual({ ownerId: left[0] ?? null, memberIds: left });
      const facts = await system.factsOf(account.id);
      expect(facts.filter((type) => type === 'member-withdrawn')).toHaveLength(members.length - left.length);
      expect(facts.includes('closed')).toBe(left.length === 0);
      const saidToOthers = await system.database.sql<{ sequence: number }>(
        `select (envelope ->> 'sequence')::int as sequence from eventing.outbox
          where ordering_key = $1 and channel = 'external' order by position`,
        [account.id],
      );
      expect(saidToOthers.map(({ sequence }) => sequence)).toEqual(facts.map((_, index) => index + 1));
      const heard = await system.database.sql<{ aggregate_id: string; last_sequence: string }>(
        `select aggregate_id, last_sequence from eventing.cursor where consumer = 'membership' and aggregate_id = any($1)`,
        [members.map(({ memberId }) => memberId)],
      );
      expect(new Map(heard.map((it) => [it.aggregate_id, Number(it.last_sequence)]))).toEqual(
        new Map(members.map((it) => [it.memberId, it.facts.length])),
      );
    }),
    { numRuns: 12 },
  );
});

describe('A member system that cannot be asked', () => {
  test('costs no attempt; when it can be, the membership ends', async () => {
    const { id, memberIds } = await system.family(1);
    const ben = memberIds[1]!;
    system.member.standings.set(ben, 'NOT_VERIFIED');
    system.member.whenAsked = () => {
      throw Object.assign(new DependencyUnavailable('member-api-unavailable', 'away'), { outage: true });
    };
    await bring('member-external', [released(ben)]);
    expect(await keptOf(ben)).toEqual([{ state: 'failing', attempts: 0 }]);
    expect(await isMember(id, ben)).toBe(true);
    system.member.whenAsked = () => undefined;
    await eventually(async () => expect(await isMember(id, ben)).toBe(false));
  });
});

describe('Joining while the verification is being released', () => {
  test('is found out by asking again once it is committed, even when the release found nobody here', async () => {
    const { id, memberIds } = await system.family();
    const code = await system.invite(id, memberIds[0]!);
    const ben = uuid();
    system.member.whenAsked = async () => {
      // Ben was verified when asked about; his release is committed and heard here before his joining is.
      system.member.whenAsked = () => undefined;
      await bring('member-external', [released(ben)]);
    };
    await system.accept(code, ben);
    expect(await isMember(id, ben)).toBe(true);
    system.member.standings.set(ben, 'NOT_VERIFIED');
    await bring('family-account-internal', await system.messagesOf(id));
    expect(await isMember(id, ben)).toBe(false);
  });

  test('holds for the founder, whose account closes again', async () => {
    const { id, memberIds } = await system.family();
    system.member.standings.set(memberIds[0]!, 'NOT_VERIFIED');
    await bring('family-account-internal', await system.messagesOf(id));
    expect((await system.factsOf(id)).at(-1)).toBe('closed');
    // What was said about it meanwhile is erased, and nothing is left to look at.
    await bring('family-account-internal', await system.messagesOf(id));
    expect(await keptOf(id)).toEqual([]);
  });
});

test('An answer about a membership that has ended ends no later one', async () => {
  const { id, memberIds } = await system.family(1);
  const [anna, ben] = memberIds as [string, string];
  const code = await system.invite(id, anna);
  system.member.whenAsked = async () => {
    // While the answer is on its way Ben leaves, is verified again and comes back.
    system.member.whenAsked = () => undefined;
    await endMembership(system.em(), { familyAccountId: id, memberId: ben, by: ben });
    await system.accept(code, ben);
    system.member.standings.set(ben, 'NOT_VERIFIED');
  };
  await bring('member-external', [released(ben)]);
  expect(await isMember(id, ben)).toBe(true);
});

test('All at once, whatever fails in between, every membership ends that has to and no other', async () => {
  const families = await Promise.all(Array.from({ length: 4 }, () => system.family(4)));
  const events: ReceivedEvent[] = [];
  const leaving: string[] = [];
  for (const { memberIds } of families) {
    for (const memberId of memberIds.slice(0, 3)) {
      system.member.standings.set(memberId, 'NOT_VERIFIED');
      leaving.push(memberId);
      events.push(fact(memberId, 2, 'member.logged-in'), released(memberId, 1), released(memberId, 3));
    }
  }
  let asked = 0;
  system.member.whenAsked = () => {
    if (asked++ % 4 === 0) throw Object.assign(new Error('away for a moment'), { outage: true });
  };
  const own = (await Promise.all(families.map(({ id }) => system.messagesOf(id)))).flat();
  await Promise.all([
    ...[...events, ...events].map((event) => bring('member-external', [event])),
    ...own.map((event) => bring('family-account-internal', [event])),
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
    const facts = await system.factsOf(id);
    expect(facts.filter((type) => type === 'member-withdrawn')).toHaveLength(3);
    expect(facts).not.toContain('closed');
  }
}, 60_000);

describe('The system’s own topics', () => {
  test('have everything that was said said to others, in the closed form and without a value', async () => {
    const { id, memberIds } = await system.family();
    await bring('family-account-internal', await system.messagesOf(id));
    const external = await system.database.sql<{ envelope: { type: string; data: object } }>(
      `select envelope from eventing.outbox where ordering_key = $1 and channel = 'external' order by position`,
      [id],
    );
    expect(external.map(({ envelope }) => envelope)).toMatchObject([
      { type: 'family-account.opened', sequence: '0000000001', data: { familyAccountId: id } },
      {
        type: 'family-account.member-joined',
        sequence: '0000000002',
        data: { attributeTypes: ['joinedAt', 'memberId'] },
      },
    ]);
    expect(JSON.stringify(external)).not.toContain(memberIds[0]);
  });

  test('mark what has come back as published', async () => {
    const { id } = await system.family();
    await bring('family-account-internal', await system.messagesOf(id));
    const published = await system.database.sql(
      `select 1 from eventing.published join eventing.event_store e on e.id = event_id where e.aggregate_id = $1`,
      [id],
    );
    expect(published).toHaveLength(2);
    await bring('family-account-external', await system.messagesOf(id));
  });
});

test('A message that keeps not to the contract is kept for operators, and nobody asked', async () => {
  const event = { ...released(uuid()), data: { memberId: 'nobody' } };
  await bring('member-external', [event]);
  expect(await keptOf(event.aggregateId)).toMatchObject([{ state: 'failing', attempts: 1 }]);
  await system.database.sql('delete from eventing.kept_delivery where event_id = $1', [event.eventId]);
});
