import { v7 as uuid } from 'uuid';
import { DependencyUnavailable } from '#process/errors';
import { eventually } from '../../support/eventually.ts';
import { deferredOf, deliver, isMember, memberEvent, released, system } from './reactions.ts';

describe('A member whose verification was released', () => {
  test('loses the membership, in the trace of the releasing event', async () => {
    const { id, memberIds } = await system.family(1);
    const ben = memberIds[1]!;
    system.member.standings.set(ben, 'NOT_VERIFIED');
    const event = released(ben);
    await deliver('member-external', [event, event]);
    expect((await system.membersOf(id)).memberIds).toEqual([memberIds[0]]);
    const [ended] = await system.database.sql('select end_reason from membership where member_id = $1', [ben]);
    expect(ended).toEqual({ end_reason: 'IDENTITY_NOT_VERIFIED' });
    const events = await system.database.sql(
      `select requested_by, traceparent from eventing.event_store
        where aggregate_id = $1 and event_type = 'family-account.member-withdrawn'`,
      [id],
    );
    expect(events).toEqual([{ requested_by: 'membership', traceparent: event.traceparent }]);
  });

  test('keeps the membership when verified again meanwhile, as the current state counts', async () => {
    const { id, memberIds } = await system.family(1);
    await deliver('member-external', [released(memberIds[1]!)]);
    expect(await isMember(id, memberIds[1]!)).toBe(true);
  });

  test('loses the membership when the message has the id in upper case', async () => {
    const { id, memberIds } = await system.family(1);
    const ben = memberIds[1]!;
    system.member.standings.set(ben, 'NOT_VERIFIED');
    const event = released(ben);
    await deliver('member-external', [{ ...event, data: { ...event.data, memberId: ben.toUpperCase() } }]);
    expect(await isMember(id, ben)).toBe(false);
  });

  test('causes no request when it belongs to no family account', async () => {
    const outsider = uuid();
    await deliver('member-external', [released(outsider)]);
    expect(system.member.standingRequests).not.toContain(outsider);
  });
});

test('A withdrawn member loses the membership, and an owner’s account gets a new owner', async () => {
  const { id, memberIds } = await system.family(2);
  const [anna, ben, cho] = memberIds as [string, string, string];
  system.member.standings.set(anna, 'WITHDRAWN');
  const events = [memberEvent(anna, 1, 'member.registered'), memberEvent(anna, 2, 'member.withdrawn')];
  await deliver('member-external', events);
  expect(await system.membersOf(id)).toEqual({ ownerId: ben, memberIds: [ben, cho] });
  const [ended] = await system.database.sql('select end_reason from membership where member_id = $1', [anna]);
  expect(ended).toEqual({ end_reason: 'MEMBER_WITHDRAWN' });
});

test('Only the stored answers about a withdrawn member are deleted, with or without an account', async () => {
  const [withdrawn, verified] = [uuid(), uuid()];
  for (const subject of [withdrawn, verified])
    await system.database.sql(
      `insert into service.idempotency (key_hash, fingerprint, answer, subject) values ($1, '', '', $2)`,
      [Buffer.from(uuid()), subject],
    );
  await deliver('member-external', [memberEvent(withdrawn, 1, 'member.withdrawn'), released(verified)]);
  const left = await system.database.sql('select subject from service.idempotency');
  expect(left).toEqual([{ subject: verified }]);
});

describe('An unreachable member system', () => {
  test('costs no attempt, and the membership ends once it is back', async () => {
    const { id, memberIds } = await system.family(1);
    const ben = memberIds[1]!;
    system.member.standings.set(ben, 'NOT_VERIFIED');
    system.member.beforeAnswer = () => {
      throw Object.assign(new DependencyUnavailable('member-api-unavailable', 'unreachable'), { outage: true });
    };
    await deliver('member-external', [released(ben)]);
    expect(await deferredOf(ben)).toEqual([{ state: 'failing', attempts: 0 }]);
    expect(await isMember(id, ben)).toBe(true);
    system.member.beforeAnswer = () => undefined;
    await eventually(async () => expect(await isMember(id, ben)).toBe(false));
  });
});

describe('The system’s own topics', () => {
  test('broadcast every event as an external event without values', async () => {
    const { id, memberIds } = await system.family();
    await deliver('family-account-internal', await system.messagesOf(id));
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

  test('confirm received messages as published', async () => {
    const { id } = await system.family();
    await deliver('family-account-internal', await system.messagesOf(id));
    const published = await system.database.sql(
      `select 1 from eventing.published join eventing.event_store e on e.id = event_id where e.aggregate_id = $1`,
      [id],
    );
    expect(published).toHaveLength(2);
    await deliver('family-account-external', await system.messagesOf(id));
  });
});

test('A message that violates the contract is deferred without asking the member system', async () => {
  const event = { ...released(uuid()), data: { memberId: 'not-an-id' } };
  await deliver('member-external', [event]);
  expect(await deferredOf(event.aggregateId)).toMatchObject([{ state: 'failing', attempts: 1 }]);
  await system.database.sql('delete from eventing.kept_delivery where event_id = $1', [event.eventId]);
});
