import { z } from 'zod';
import { endpoint } from '#http/http';
import type { MemberSystem } from '../member-system.ts';
import { endMembership } from '../use-cases/end-membership.ts';
import { openFamilyAccount } from '../use-cases/open-family-account.ts';
import { findFamilyAccountOf, readFamilyAccount } from '../use-cases/read-family-account.ts';
import { transferOwnership } from '../use-cases/transfer-ownership.ts';
import * as schemas from './schemas.ts';

const params = schemas.familyAccountPath;

export function familyAccountEndpoints(member: MemberSystem) {
  return {
    open: endpoint({
      idempotent: true,
      summary: 'Open a family account and become its owner',
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
    list: endpoint({
      summary: 'List your family accounts (at most one)',
      access: ['member'],
      responses: { 200: z.object({ familyAccounts: z.array(schemas.familyAccount) }) },
      handle: async ({ em, principal: { memberId } }) => {
        const own = await findFamilyAccountOf(em, memberId);
        return { status: 200, body: { familyAccounts: own ? [schemas.showFamilyAccount(own)] : [] } };
      },
    }),
    read: endpoint({
      summary: 'Get a family account',
      description: 'For its members and for operators. Any other account answers 404.',
      access: ['member', 'operator'],
      params,
      responses: { 200: schemas.familyAccount },
      errors: { 404: ['family-account-not-found'] },
      handle: async ({ em, principal, params: { id } }) => {
        const reader = principal.kind === 'member' ? principal.memberId : undefined;
        return { status: 200, body: schemas.showFamilyAccount(await readFamilyAccount(em, { id, reader })) };
      },
    }),
    transferOwnership: endpoint({
      summary: 'Transfer ownership to another member',
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
    endMembership: endpoint({
      summary: 'Leave the account, or remove a member as its owner',
      description:
        'When the owner leaves, the longest-standing other member becomes the owner. When the last member leaves, the account closes.',
      access: ['member'],
      params: schemas.membershipPath,
      responses: { 204: 'Membership ended' },
      errors: { 403: ['owner-only'], 404: ['family-account-not-found', 'membership-not-found'] },
      handle: async ({ em, principal, params: { id, memberId } }) => {
        await endMembership(em, { familyAccountId: id, memberId, by: principal.memberId });
        return { status: 204 };
      },
    }),
  };
}
