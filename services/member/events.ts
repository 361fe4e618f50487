import { z } from 'zod';
import { defineEvents } from '#eventing/domain-event';

const sessionNumber = z.int().positive();

/** Everything that can happen to a member. Attributes are values after the change; they leave the process only encrypted. */
export const events = defineEvents('member', {
  registered: { type: 'member.registered', attributes: z.strictObject({ email: z.string(), name: z.string() }) },
  profileChanged: {
    type: 'member.profile-changed',
    attributes: z.strictObject({ email: z.string().optional(), name: z.string().optional() }),
  },
  // That it changed is all that anybody may know: neither the password nor its hash ever is an attribute.
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
        // The database was restored to before the log-in: nobody knows its token any more.
        'RESTORED',
      ]),
    }),
  },
  // The last fact of a member: with it the key of all its values is destroyed.
  withdrawn: {
    type: 'member.withdrawn',
    attributes: z.strictObject({ status: z.literal('WITHDRAWN') }),
    erases: true,
  },
  // What is known of the member is that of an earlier time again, as far as its facts did not say more: ask for the newest state.
  restored: { type: 'member.restored', attributes: z.strictObject({}) },
  // About nobody: sent to see how far facts come.
  canarySent: { type: 'member.canary-sent', attributes: z.strictObject({}) },
});

export type LogoutReason = z.output<typeof events.loggedOut.attributes>['logoutReason'];
