import { z } from 'zod';
import { defineEvents } from '#eventing/domain-event';

/**
 * Everything that can happen to a family account. Every membership, the founder's too, begins with `member-joined` and ends with
 * `member-withdrawn`, so that whoever follows these two knows who belongs to it.
 */
export const events = defineEvents('family-account', {
  opened: {
    type: 'family-account.opened',
    attributes: z.strictObject({ status: z.literal('OPEN'), name: z.string(), ownerId: z.uuid() }),
  },
  // The code itself never is an attribute: whoever has it may join.
  invitationIssued: {
    type: 'family-account.invitation-issued',
    attributes: z.strictObject({ invitationId: z.uuid(), invitationExpiresAt: z.iso.datetime() }),
  },
  memberJoined: {
    type: 'family-account.member-joined',
    attributes: z.strictObject({
      memberId: z.uuid(),
      joinedAt: z.iso.datetime(),
      /** The invitation that it used up; the founder had none. */
      invitationId: z.uuid().optional(),
    }),
  },
  memberWithdrawn: {
    type: 'family-account.member-withdrawn',
    attributes: z.strictObject({ memberId: z.uuid() }),
  },
  ownerChanged: { type: 'family-account.owner-changed', attributes: z.strictObject({ ownerId: z.uuid() }) },
  // The last fact of a family account: with it the key of all its values is destroyed, its name's above all.
  closed: {
    type: 'family-account.closed',
    attributes: z.strictObject({ status: z.literal('CLOSED') }),
    erases: true,
  },
  // What is known of the account is that of an earlier time again, as far as its facts did not say more: ask for the newest state.
  restored: { type: 'family-account.restored', attributes: z.strictObject({}) },
  // About nobody: sent to see how far facts come.
  canarySent: { type: 'family-account.canary-sent', attributes: z.strictObject({}) },
});
