import { z } from 'zod';

/**
 * Event types of a family account, each with the types of the attributes that may change. Types may be added, so ignore unknown ones;
 * listed types are never removed.
 */
export const familyAccountEventTypes = {
  'family-account.opened': ['name', 'ownerId', 'status'],
  'family-account.invitation-issued': ['invitationExpiresAt', 'invitationId'],
  'family-account.member-joined': ['invitationId', 'joinedAt', 'memberId'],
  'family-account.member-withdrawn': ['memberId'],
  'family-account.owner-changed': ['ownerId'],
  'family-account.closed': ['status'],
  'family-account.restored': [],
  'family-account.canary-sent': [],
} as const satisfies Record<string, readonly string[]>;

export type FamilyAccountEventType = keyof typeof familyAccountEventTypes;

const eventTypes = Object.keys(familyAccountEventTypes) as [FamilyAccountEventType, ...FamilyAccountEventType[]];

/**
 * Data of an event on the topic `family-account-external`: identifier, event type, attribute types and time; never a value. The set of
 * fields never changes.
 */
export const externalFamilyAccountEvent = z
  .strictObject({
    familyAccountId: z.uuid().toLowerCase().describe('Id of the family account'),
    eventType: z
      .union([z.enum(eventTypes), z.string().regex(/^family-account\.[a-z-]+$/)])
      .describe('What happened; equal to the type of the CloudEvent. Types may be added'),
    attributeTypes: z
      .array(z.string())
      .describe('Names of the changed attributes; read their values from the API. Names may be added'),
    occurredAt: z.iso.datetime().describe('When it happened, in UTC'),
  })
  .meta({ title: 'External event of the family-account system' });

export type ExternalFamilyAccountEvent = z.output<typeof externalFamilyAccountEvent>;

/** Name of the topic, and of its pub/sub component. */
export const FAMILY_ACCOUNT_EXTERNAL_TOPIC = 'family-account-external';
