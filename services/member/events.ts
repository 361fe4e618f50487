import { z } from 'zod';
import { defineEvents } from '#eventing/domain-event';

const sessionNumber = z.int().positive();

/** All domain events of a member. Attributes are values after the change; they leave the process only encrypted. */
export const events = defineEvents('member', {
  registered: { type: 'member.registered', attributes: z.strictObject({ email: z.string(), name: z.string() }) },
  profileChanged: {
    type: 'member.profile-changed',
    attributes: z.strictObject({ email: z.string().optional(), name: z.string().optional() }),
  },
  // Without attributes: neither a password nor its hash may ever be one.
  passwordChanged: { type: 'member.password-changed', attributes: z.strictObject({}) },
  identityVerified: {
    type: 'member.identity-verified',
    attributes: z.strictObject({
      identityVerificationStatus: z.literal('VERIFIED'),
      identityVerifiedAt: z.iso.datetime(),
    }),
  },
  identityVerificationReleased: {
    type: 'member.identity-verification-released',
    attributes: z.strictObject({ identityVerificationStatus: z.literal('NONE'), identityVerifiedAt: z.null() }),
  },
  loggedIn: {
    type: 'member.logged-in',
    attributes: z.strictObject({
      sessionNumber,
      deviceId: z.string(),
      deviceName: z.string(),
      deviceOs: z.string(),
      ip: z.string(),
      userAgent: z.string(),
    }),
  },
  loggedOut: {
    type: 'member.logged-out',
    attributes: z.strictObject({
      sessionNumber,
      logoutReason: z.enum([
        'SELF',
        'OTHER_DEVICE',
        'OTHER_MEMBER_ON_DEVICE',
        'WITHDRAWN',
        'PASSWORD_CHANGED',
        // The database was restored to a time before the log-in: the token is lost.
        'RESTORED',
      ]),
    }),
  },
  // The last event of a member: it destroys the key of all the member's values.
  withdrawn: {
    type: 'member.withdrawn',
    attributes: z.strictObject({ status: z.literal('WITHDRAWN') }),
    erases: true,
  },
  // The member was restored from a backup and may have lost changes that its events do not hold: read the newest state.
  restored: { type: 'member.restored', attributes: z.strictObject({}) },
  // Synthetic event about no member: checks every hop.
  canarySent: { type: 'member.canary-sent', attributes: z.strictObject({}) },
});

export type LogoutReason = z.output<typeof events.loggedOut.attributes>['logoutReason'];
