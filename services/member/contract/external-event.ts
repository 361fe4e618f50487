import { z } from 'zod';

/**
 * What can happen to a member, with the types of the attributes that may change with it. Types may be added, so take what you do not know for
 * a change that you know nothing of; a type that is listed is never taken away.
 */
export const memberEventTypes = {
  'member.registered': ['email', 'name'],
  'member.profile-changed': ['email', 'name'],
  'member.password-changed': [],
  'member.identity-verified': ['identityVerificationStatus', 'identityVerifiedAt'],
  'member.identity-verification-released': ['identityVerificationStatus', 'identityVerifiedAt'],
  'member.logged-in': ['deviceId', 'deviceName', 'deviceOs', 'ip', 'sessionNumber', 'userAgent'],
  'member.logged-out': ['logoutReason', 'sessionNumber'],
  'member.withdrawn': ['status'],
  'member.restored': [],
  'member.canary-sent': [],
} as const satisfies Record<string, readonly string[]>;

export type MemberEventType = keyof typeof memberEventTypes;

const known = Object.keys(memberEventTypes) as [MemberEventType, ...MemberEventType[]];

/** The data of an event on the topic `member-external`: who, what, which attributes, when; never a value. These fields and no other, for ever. */
export const externalMemberEvent = z
  .strictObject({
    memberId: z.uuid().describe('The member that it is about'),
    eventType: z
      .union([z.enum(known), z.string().regex(/^member\.[a-z-]+$/)])
      .describe('What happened; the same as the type of the CloudEvent. More may be added'),
    attributeTypes: z
      .array(z.string())
      .describe('Which attributes changed, by name; ask the API for their values. More may be added'),
    occurredAt: z.iso.datetime().describe('When, in UTC'),
  })
  .meta({ title: 'External event of the member system' });

export type ExternalMemberEvent = z.output<typeof externalMemberEvent>;

/** The topic, and the name of its pub/sub component. */
export const MEMBER_EXTERNAL_TOPIC = 'member-external';

/** What its CloudEvents say they come from. */
export const MEMBER_EVENT_SOURCE = '/member';
