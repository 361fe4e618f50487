import { type Route, route } from '#service/http';
import type { MemberSystem } from '../member-system.ts';
import { acceptInvitation } from '../use-cases/accept-invitation.ts';
import { invite } from '../use-cases/invite.ts';
import * as schemas from './schemas.ts';

export function invitationRoutes(member: MemberSystem): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/family-accounts/:id/invitations',
      idempotent: true,
      summary: 'Invite somebody, as the owner',
      description: 'Whoever gets the code can join with it once, within seven days.',
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
    route({
      method: 'POST',
      path: '/v1/invitations/:code/acceptance',
      idempotent: true,
      summary: 'Join the family account that an invitation is to',
      description: 'Sent again by the same member, it answers the same.',
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
  ];
}
