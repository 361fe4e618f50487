import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { Inbox } from '#eventing/inbox';
import { withdrawMember } from '../../../services/member/use-cases/withdraw-member.ts';
import { workers } from '../../../services/workers/workers.ts';
import { type MemberSystem, openMemberSystem } from '../member/support.ts';

let system: MemberSystem;
let inbox: Inbox;
const problems: unknown[] = [];
const note = (fields: object) => void problems.push(fields);
beforeAll(async () => {
  system = await openMemberSystem();
  inbox = new Inbox(system.orm, { log: { warn: note, error: note } });
});
afterAll(async () => {
  await inbox[Symbol.asyncDispose]();
  await system[Symbol.asyncDispose]();
});
afterEach(() => expect(problems).toEqual([]));

/** Brings messages to a worker, as daprd would. */
async function bring(worker: string, messages: readonly ReceivedEvent[]): Promise<void> {
  const { 'member-internal': subscriber } = workers[worker]!({ orm: system.orm, keyring: system.keyring });
  for (const message of messages) {
    await subscriber!.recorder?.cameBack(message.messageId);
    for (const consumer of subscriber!.consumers ?? []) await inbox.deliver(consumer, message);
  }
}

test('device-login-recorder writes each log-in into the log, once', async () => {
  const { id } = await system.register();
  const session = await system.open(id, 'a phone');
  const messages = await system.messagesOf(id);
  await bring('device-login-recorder', [...messages, ...messages]);
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

test('other-device-logout ends the member’s earlier sessions, and says that it did', async () => {
  const { id } = await system.register();
  await system.open(id);
  const last = await system.open(id);
  await bring('other-device-logout', await system.messagesOf(id));
  expect(await system.liveSessionsOf(id)).toEqual([last.number]);
  const [fact] = await system.database.sql(
    `select requested_by from eventing.event_store where aggregate_id = $1 and event_type = 'member.logged-out'`,
    [id],
  );
  expect(fact).toEqual({ requested_by: 'other-device-logout' });
});

test('other-member-logout ends other members’ earlier sessions on that device', async () => {
  const [anna, ben] = [await system.register(), await system.register()];
  const device = uuid();
  await system.open(anna.id, device);
  const bens = await system.open(ben.id, device);
  await bring('other-member-logout', [...(await system.messagesOf(ben.id)), ...(await system.messagesOf(anna.id))]);
  expect(await system.liveSessionsOf(anna.id)).toEqual([]);
  expect(await system.liveSessionsOf(ben.id)).toEqual([bens.number]);
});

test('external-broadcaster says each fact to others once, in sequence, without a value', async () => {
  const { id, email } = await system.register();
  await system.open(id);
  const [registered, loggedIn] = await system.messagesOf(id);
  await bring('external-broadcaster', [registered!, loggedIn!, registered!]);
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

test('publish-recorder marks what came back', async () => {
  const { id } = await system.register();
  await bring('publish-recorder', await system.messagesOf(id));
  expect(await system.messagesOf(id)).toEqual([]);
  const rows = await system.database.sql(
    `select topic from eventing.delivery where published_at is not null
       and event_id in (select id from eventing.event_store where aggregate_id = $1)`,
    [id],
  );
  expect(rows).toEqual([{ topic: 'member-internal' }]);
});

test('A log-in of somebody who has withdrawn since is passed over by all, with nothing left behind', async () => {
  const { id } = await system.register();
  await system.open(id);
  const messages = await system.messagesOf(id);
  await withdrawMember(system.em(), id);
  const facts = await system.factsOf(id);
  for (const worker of ['device-login-recorder', 'other-device-logout', 'other-member-logout']) {
    await bring(worker, messages);
  }
  expect(await system.database.sql('select from login_record where member_id = $1', [id])).toEqual([]);
  expect(await system.factsOf(id)).toEqual(facts);
  expect(await system.database.sql('select from eventing.kept_delivery')).toEqual([]);
});
