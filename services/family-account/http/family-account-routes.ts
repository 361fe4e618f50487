import { z } from 'zod';
import { type Route, route } from '#service/http';
import type { MemberSystem } from '../member-system.ts';
import { endMembership } from '../use-cases/end-membership.ts';
import { openFamilyAccount } from '../use-cases/open-family-account.ts';
import { findFamilyAccountOf, readFamilyAccount } from '../use-cases/read-family-account.ts';
import { transferOwnership } from '../use-cases/transfer-ownership.ts';
import * as schemas from './schemas.ts';

const params = schemas.familyAccountPath;

export function familyAccountRoutes(member: MemberSystem): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/family-accounts',
      idempotent: true,
      summary: 'Open a family account, as its owner',
      access: ['member'],
      body: schemas.newFamilyAccount,
      responses: { 201: schemas.familyAccount },
      errors: {
        403: ['identity-not-verified'],
        409: ['already-in-family-account'],
        503: ['member-api-unavailable'],
      },
      handle: async ({ em, principal, body: { name } }) => {
        const opened = await openFamilyAccount(em, member, { name, ownerId: principal.memberId });
        const headers = { Location: `/v1/family-accounts/${opened.account.id}` };
        return { status: 201, body: schemas.showFamilyAccount(opened), headers };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/family-accounts',
      summary: 'The family account that one belongs to: a list of one or none',
      access: ['member'],
      responses: { 200: z.object({ familyAccounts: z.array(schemas.familyAccount) }) },
      handle: async ({ em, principal: { memberId } }) => {
        const own = await findFamilyAccountOf(em, memberId);
        return { status: 200, body: { familyAccounts: own ? [schemas.showFamilyAccount(own)] : [] } };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/family-accounts/:id',
      summary: 'A family account as it is now; for its members and for operators',
      access: ['member', 'operator'],
      params,
      responses: { 200: schemas.familyAccount },
      errors: { 404: ['family-account-not-found'] },
      handle: async ({ em, principal, params: { id } }) => {
        const reader = principal.kind === 'member' ? principal.memberId : undefined;
        return { status: 200, body: schemas.showFamilyAccount(await readFamilyAccount(em, { id, reader })) };
      },
    }),
    route({
      method: 'PUT',
      path: '/v1/family-accounts/:id/owner',
      summary: 'Hand the account over to another of its members',
      access: ['member'],
      params,
      body: schemas.newOwner,
      responses: { 200: schemas.familyAccount },
      errors: { 403: ['owner-only'], 404: ['family-account-not-found'], 422: ['not-a-member'] },
      handle: async ({ em, principal, params: { id }, body: { memberId } }) => {
        const by = principal.memberId;
        const transferred = await transferOwnership(em, { familyAccountId: id, memberId, by });
        return { status: 200, body: schemas.showFamilyAccount(transferred) };
      },
    }),
    route({
      method: 'DELETE',
      path: '/v1/family-accounts/:id/members/:memberId',
      summary: 'Leave, or remove a member as the owner',
      description:
        'An owner who leaves hands the account over to the longest-standing other member; with the last member it closes.',
      access: ['member'],
      params: schemas.membershipPath,
      responses: { 204: 'The membership has ended' },
      errors: { 403: ['owner-only'], 404: ['family-account-not-found', 'membership-not-found'] },
      handle: async ({ em, principal, params: { id, memberId } }) => {
        await endMembership(em, { familyAccountId: id, memberId, by: principal.memberId });
        return { status: 204 };
      },
    }),
  ];
}
