import { externalData, readEnvelope, sourceOf, topicOf } from '#eventing/cloud-event';
import { externalMemberEvent, MEMBER_EVENT_SOURCE, MEMBER_EXTERNAL_TOPIC, memberEventTypes } from '#member/contract';
import { events } from '../../../../services/member/events.ts';
import { system } from '../../../../services/member/system.ts';

const id = '0198d7a2-0000-7000-8000-000000000001';

test('the contract lists exactly the member’s event types, with their attributes', () => {
  const declared = Object.values(events).map(({ type, attributes }) => [type, Object.keys(attributes.shape).sort()]);
  expect(memberEventTypes).toEqual(Object.fromEntries(declared));
});

test('external topic and event source match the published contract', () => {
  expect([topicOf(system, 'external'), sourceOf(system)]).toEqual([MEMBER_EXTERNAL_TOPIC, MEMBER_EVENT_SOURCE]);
});

test('external event data matches the contract and holds no attribute value', () => {
  const internal = readEnvelope({
    specversion: '1.0',
    id,
    eventid: id,
    type: 'member.registered',
    source: '/member',
    subject: id,
    sequence: '0000000001',
    time: '2026-07-01T09:00:00.000Z',
    data: { attributes: { name: 'encrypted', email: 'encrypted' }, reason: 'encrypted' },
  });
  const data = externalData(system, internal);
  expect(externalMemberEvent.parse(data)).toEqual({
    memberId: id,
    eventType: 'member.registered',
    attributeTypes: ['email', 'name'],
    occurredAt: '2026-07-01T09:00:00.000Z',
  });
  expect(topicOf(system, 'external')).toBe(MEMBER_EXTERNAL_TOPIC);
});

describe('The contract', () => {
  const event = {
    memberId: id,
    eventType: 'member.registered',
    attributeTypes: [],
    occurredAt: '2026-07-01T09:00:00Z',
  };

  test('accepts an event type that is newer than the consumer', () => {
    const newer = { ...event, eventType: 'member.nickname-chosen', attributeTypes: ['nickname'] };
    expect(externalMemberEvent.parse(newer)).toEqual(newer);
  });

  test('rejects an event with a fifth field', () => {
    expect(externalMemberEvent.safeParse({ ...event, email: 'anna@example.com' }).success).toBe(false);
  });
});
