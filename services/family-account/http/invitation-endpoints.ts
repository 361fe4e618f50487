import { endpoint } from '#http/http';
import type { MemberSystem } from '../member-system.ts';
import { acceptInvitation } from '../use-cases/accept-invitation.ts';
import { invite } from '../use-cases/invite.ts';
import * as schemas from './schemas.ts';

export function invitationEndpoints(member: MemberSystem) {
  return {
    invite: endpoint({
      idempotent: true,
      summary: 'Create an invitation, as the owner',
      description: 'Any member with the code can join, once, within seven days.',
      access: ['member'],
      params: schemas.familyAccountPath,
      responses: { 201: schemas.invitation },
      errors: {
        403: ['owner-only'],
        404: ['family-account-not-found'],
        409: ['family-account-full', 'too-many-invitations'],
      },
      handle: async ({ em, principal, params: { id } }) => ({
        status: 201,
        body: await invite(em, { familyAccountId: id, by: principal.memberId }),
      }),
    }),
    accept: endpoint({
      idempotent: true,
      summary: 'Accept an invitation and join its family account',
      description: 'Repeats by the same member have no further effect and return the same result.',
      access: ['member'],
      params: schemas.invitationPath,
      responses: { 200: schemas.familyAccount },
      errors: {
        403: ['identity-not-verified'],
        404: ['invitation-not-found'],
        409: ['already-in-family-account', 'family-account-full'],
        410: ['invitation-used', 'invitation-expired', 'family-account-closed'],
        503: ['member-api-unavailable'],
      },
      handle: async ({ em, principal, params: { code } }) => {
        const joined = await acceptInvitation(em, member, { code, memberId: principal.memberId });
        return { status: 200, body: schemas.showFamilyAccount(joined) };
      },
    }),
  };
}
