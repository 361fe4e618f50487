import { z } from 'zod';
import { defineEvents } from '#eventing/domain-event';

/**
 * All domain events of a family account. Every membership, also the first owner's, begins with `member-joined` and ends with
 * `member-withdrawn`, so a consumer of these two knows all members.
 */
export const events = defineEvents('family-account', {
  opened: {
    type: 'family-account.opened',
    attributes: z.strictObject({ status: z.literal('OPEN'), name: z.string(), ownerId: z.uuid() }),
  },
  // The code is never an attribute: it is a credential to join.
  invitationIssued: {
    type: 'family-account.invitation-issued',
    attributes: z.strictObject({ invitationId: z.uuid(), invitationExpiresAt: z.iso.datetime() }),
  },
  memberJoined: {
    type: 'family-account.member-joined',
    attributes: z.strictObject({
      memberId: z.uuid(),
      joinedAt: z.iso.datetime(),
      /** The invitation that was used; absent for the first owner. */
      invitationId: z.uuid().optional(),
    }),
  },
  memberWithdrawn: {
    type: 'family-account.member-withdrawn',
    attributes: z.strictObject({ memberId: z.uuid() }),
  },
  ownerChanged: { type: 'family-account.owner-changed', attributes: z.strictObject({ ownerId: z.uuid() }) },
  // The last event of a family account: it destroys the key of all the account's values, such as its name.
  closed: {
    type: 'family-account.closed',
    attributes: z.strictObject({ status: z.literal('CLOSED') }),
    erases: true,
  },
  // The account was restored from a backup and may have lost changes that its events do not hold: read the newest state.
  restored: { type: 'family-account.restored', attributes: z.strictObject({}) },
  // Synthetic event about no account: checks every hop.
  canarySent: { type: 'family-account.canary-sent', attributes: z.strictObject({}) },
});
