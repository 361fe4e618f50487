import { z } from 'zod';

/**
 * What can happen to a family account, with the types of the attributes that may change with it. Types may be added, so take what you do not
 * know for a change that you know nothing of; a type that is listed is never taken away.
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

const known = Object.keys(familyAccountEventTypes) as [FamilyAccountEventType, ...FamilyAccountEventType[]];

/**
 * The data of an event on the topic `family-account-external`: who, what, which attributes, when; never a value. These fields and no
 * other, for ever.
 */
export const externalFamilyAccountEvent = z
  .strictObject({
    familyAccountId: z.uuid().describe('The family account that it is about'),
    eventType: z
      .union([z.enum(known), z.string().regex(/^family-account\.[a-z-]+$/)])
      .describe('What happened; the same as the type of the CloudEvent. More may be added'),
    attributeTypes: z
      .array(z.string())
      .describe('Which attributes changed, by name; ask the API for their values. More may be added'),
    occurredAt: z.iso.datetime().describe('When, in UTC'),
  })
  .meta({ title: 'External event of the family-account system' });

export type ExternalFamilyAccountEvent = z.output<typeof externalFamilyAccountEvent>;

/** The topic, and the name of its pub/sub component. */
export const FAMILY_ACCOUNT_EXTERNAL_TOPIC = 'family-account-external';
