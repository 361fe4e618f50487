import { externalData, readEnvelope, topicOf } from '#eventing/cloud-event';
import {
  externalFamilyAccountEvent,
  FAMILY_ACCOUNT_EXTERNAL_TOPIC,
  familyAccountEventTypes,
} from '../../../../services/family-account/contract/external-event.ts';
import { events } from '../../../../services/family-account/events.ts';
import { system } from '../../../../services/family-account/system.ts';

const id = '0198d7a2-0000-7000-8000-000000000001';

test('the contract lists exactly a family account’s event types, with their attributes', () => {
  const declared = Object.values(events).map(({ type, attributes }) => [type, Object.keys(attributes.shape).sort()]);
  expect(familyAccountEventTypes).toEqual(Object.fromEntries(declared));
});

test('external event data matches the contract and holds no attribute value', () => {
  const internal = readEnvelope({
    specversion: '1.0',
    id,
    eventid: id,
    type: 'family-account.member-joined',
    source: '/family-account',
    subject: id,
    sequence: '0000000002',
    time: '2026-07-01T09:00:00.000Z',
    data: { attributes: { memberId: 'encrypted', joinedAt: 'encrypted' } },
  });
  const data = externalData(system, internal);
  expect(externalFamilyAccountEvent.parse(data)).toEqual({
    familyAccountId: id,
    eventType: 'family-account.member-joined',
    attributeTypes: ['joinedAt', 'memberId'],
    occurredAt: '2026-07-01T09:00:00.000Z',
  });
  expect(topicOf(system, 'external')).toBe(FAMILY_ACCOUNT_EXTERNAL_TOPIC);
});

test('the contract rejects an event with a fifth field', () => {
  const event = {
    familyAccountId: id,
    eventType: 'family-account.opened',
    attributeTypes: [],
    occurredAt: '2026-07-01T09:00:00Z',
  };
  expect(externalFamilyAccountEvent.safeParse(event).success).toBe(true);
  expect(externalFamilyAccountEvent.safeParse({ ...event, name: 'Home' }).success).toBe(false);
});
