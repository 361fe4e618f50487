import { z } from 'zod';

/**
 * Event types of a member, each with the types of the attributes that may change. Types may be added, so ignore unknown ones; listed types
 * are never removed.
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

const eventTypes = Object.keys(memberEventTypes) as [MemberEventType, ...MemberEventType[]];

/**
 * Data of an event on the topic `member-external`: identifier, event type, attribute types and time; never a value. The set of fields never
 * changes.
 */
export const externalMemberEvent = z
  .strictObject({
    memberId: z.uuid().toLowerCase().describe('Id of the member'),
    eventType: z
      .union([z.enum(eventTypes), z.string().regex(/^member\.[a-z-]+$/)])
      .describe('What happened; equal to the type of the CloudEvent. Types may be added'),
    attributeTypes: z
      .array(z.string())
      .describe('Names of the changed attributes; read their values from the API. Names may be added'),
    occurredAt: z.iso.datetime().describe('When it happened, in UTC'),
  })
  .meta({ title: 'External event of the member system' });

export type ExternalMemberEvent = z.output<typeof externalMemberEvent>;

/** Name of the topic, and of its pub/sub component. */
export const MEMBER_EXTERNAL_TOPIC = 'member-external';

/** Format of a session token: 32 bytes in base64url. Anything else is invalid and needs no lookup. */
export const SESSION_TOKEN = /^[\w-]{43}$/;

/** The `source` of its CloudEvents. */
export const MEMBER_EVENT_SOURCE = '/member';
