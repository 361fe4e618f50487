import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { Inbox } from '#eventing/inbox';
import { withdrawMember } from '../../../services/member/use-cases/withdraw-member.ts';
import { workers } from '../../../services/workers/workers.ts';
import { type MemberSystem, openMemberSystem } from '../member/support.ts';

let system: MemberSystem;
let inbox: Inbox;
const problems: unknown[] = [];
const logProblem = (fields: object) => void problems.push(fields);
beforeAll(async () => {
  system = await openMemberSystem();
  inbox = new Inbox(system.orm, { ownSource: '/member', log: { warn: logProblem, error: logProblem } });
});
afterAll(async () => {
  await inbox[Symbol.asyncDispose]();
  await system[Symbol.asyncDispose]();
});
afterEach(() => expect(problems).toEqual([]));

const loginWorkers = ['device-login-recorder', 'other-device-logout', 'other-member-logout'];

/** Delivers messages to a worker, as daprd would. */
async function deliverTo(worker: string, messages: readonly ReceivedEvent[]): Promise<void> {
  const topic = 'member-internal';
  const { [topic]: subscriber } = workers[worker]!({ orm: system.orm, keyring: system.keyring });
  for (const message of messages) {
    await subscriber!.recorder?.confirm({ topic, event: message, dataOf: ({ data }) => data });
    for (const consumer of subscriber!.consumers ?? []) await inbox.deliver(consumer, message);
  }
}

test('device-login-recorder records each login once', async () => {
  const { id } = await system.register();
  const session = await system.open(id, 'a phone');
  const messages = await system.messagesOf(id);
  await deliverTo('device-login-recorder', [...messages, ...messages]);
  const rows = await system.database.sql('select * from login_record where member_id = $1', [id]);
  expect(rows).toEqual([
    {
      event_id: messages[1]!.eventId,
      member_id: id,
      session_number: String(session.number),
      device_id: 'a phone',
      device_name: 'a device',
      device_os: 'any',
      ip: '192.0.2.1',
      user_agent: 'test',
      at: new Date(messages[1]!.time),
    },
  ]);
});

test('other-device-logout ends the member’s earlier sessions and is recorded as requester', async () => {
  const { id } = await system.register();
  await system.open(id);
  const last = await system.open(id);
  await deliverTo('other-device-logout', await system.messagesOf(id));
  expect(await system.liveSessionsOf(id)).toEqual([last.number]);
  const [event] = await system.database.sql(
    `select requested_by from eventing.event_store where aggregate_id = $1 and event_type = 'member.logged-out'`,
    [id],
  );
  expect(event).toEqual({ requested_by: 'other-device-logout' });
});

test('other-member-logout ends other members’ earlier sessions on that device', async () => {
  const [anna, ben] = [await system.register(), await system.register()];
  const device = uuid();
  await system.open(anna.id, device);
  const bens = await system.open(ben.id, device);
  await deliverTo('other-member-logout', [...(await system.messagesOf(ben.id)), ...(await system.messagesOf(anna.id))]);
  expect(await system.liveSessionsOf(anna.id)).toEqual([]);
  expect(await system.liveSessionsOf(ben.id)).toEqual([bens.number]);
});

test('external-broadcaster enqueues each external event once, in sequence, without values', async () => {
  const { id, email } = await system.register();
  await system.open(id);
  const [registered, loggedIn] = await system.messagesOf(id);
  await deliverTo('external-broadcaster', [registered!, loggedIn!, registered!]);
  const external = await system.database.sql<{ envelope: ReceivedEvent }>(
    `select envelope from eventing.outbox where ordering_key = $1 and topic = 'member-external' order by position`,
    [id],
  );
  expect(external.map(({ envelope }) => envelope.data)).toEqual([
    { memberId: id, eventType: 'member.registered', attributeTypes: ['email', 'name'], occurredAt: registered!.time },
    expect.objectContaining({ memberId: id, eventType: 'member.logged-in' }),
  ]);
  expect(JSON.stringify(external)).not.toContain(email);
});

test('publish-recorder marks received messages as published', async () => {
  const { id } = await system.register();
  await deliverTo('publish-recorder', await system.messagesOf(id));
  expect(await system.messagesOf(id)).toEqual([]);
  const rows = await system.database.sql(
    `select topic from eventing.delivery where published_at is not null
       and event_id in (select id from eventing.event_store where aggregate_id = $1)`,
    [id],
  );
  expect(rows).toEqual([{ topic: 'member-internal' }]);
});

test('Login workers skip the login of a withdrawn member and leave no data', async () => {
  const { id } = await system.register();
  await system.open(id);
  const messages = await system.messagesOf(id);
  await withdrawMember(system.em(), id);
  const eventTypes = await system.eventTypesOf(id);
  for (const worker of loginWorkers) await deliverTo(worker, messages);
  expect(await system.database.sql('select from login_record where member_id = $1', [id])).toEqual([]);
  expect(await system.eventTypesOf(id)).toEqual(eventTypes);
  expect(await system.database.sql('select from eventing.kept_delivery')).toEqual([]);
});

// Each worker receives messages in any order and twice, some before the next step and some long after a withdrawal.
test('Login workers converge in any order of logins and withdrawals, and withdrawn data is gone', async () => {
  const member = fc.nat(2);
  const logIn = fc.record({ member, device: fc.nat(2) });
  const withdrawal = fc.record({ withdraws: member });
  const steps = fc.oneof({ weight: 4, arbitrary: logIn }, { weight: 1, arbitrary: withdrawal });
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 3, maxLength: 8 }), fc.gen(), async (plan, g) => {
      const ids = await Promise.all([0, 1, 2].map(async () => (await system.register()).id));
      const devices = [uuid(), uuid(), uuid()];
      const withdrawn = new Set<string>();
      const opened: { number: number; memberId: string; deviceId: string }[] = [];
      const deliveries = async () => {
        const messages = (await Promise.all(ids.map((id) => system.messagesOf(id)))).flat();
        const logins = messages.filter(({ type }) => type === 'member.logged-in');
        return logins.flatMap((message) => loginWorkers.map((worker) => () => deliverTo(worker, [message])));
      };
      const some = <T>(all: readonly T[], { least = 0, most = all.length } = {}): T[] => {
        const count = { minLength: least, maxLength: Math.min(most, all.length) };
        return g(fc.shuffledSubarray<number>, [...all.keys()], count).map((at) => all[at]!);
      };

      for (const step of plan) {
        const early = some(await deliveries(), { most: 3 });
        if ('withdraws' in step) {
          const id = ids[step.withdraws]!;
          withdrawn.add(id);
          await Promise.all([withdrawMember(system.em(), id), ...early.map((deliver) => deliver())]);
          continue;
        }
        const [memberId, deviceId] = [ids[step.member]!, devices[step.device]!];
        if (!withdrawn.has(memberId)) opened.push({ ...(await system.open(memberId, deviceId)), memberId, deviceId });
        for (const deliver of early) await deliver();
      }
      const all = await deliveries();
      const rest = some([...all, ...all], { least: 2 * all.length });
      const batchSize = g(fc.integer, { min: 1, max: 3 });
      while (rest.length > 0) await Promise.all(rest.splice(0, batchSize).map((deliver) => deliver()));

      const live = opened.filter(
        (it) =>
          !withdrawn.has(it.memberId) &&
          !opened.some(
            (later) => later.number > it.number && (later.memberId === it.memberId || later.deviceId === it.deviceId),
          ),
      );
      const liveNumbers = (await Promise.all(ids.map((id) => system.liveSessionsOf(id)))).flat();
      expect(liveNumbers.sort((a, b) => a - b)).toEqual(live.map(({ number }) => number));
      const records = await system.database.sql<{ number: string; device_id: string }>(
        'select session_number as number, device_id from login_record where member_id = any($1) order by session_number',
        [ids],
      );
      const expected = opened.filter(({ memberId }) => !withdrawn.has(memberId));
      expect(records).toEqual(expected.map(({ number, deviceId }) => ({ number: `${number}`, device_id: deviceId })));
      for (const id of withdrawn) expect((await system.eventTypesOf(id)).at(-1)).toBe('member.withdrawn');
    }),
    { numRuns: 15 },
  );
});
