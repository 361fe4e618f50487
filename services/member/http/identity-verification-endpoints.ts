import { z } from 'zod';
import { endpoint } from '#http/http';
import { text } from '#http/schema';
import type { HashIdentity } from '../identity-hash.ts';
import type { IdentityProvider } from '../identity-provider.ts';
import { releaseIdentityVerification } from '../use-cases/release-identity-verification.ts';
import { verifyIdentity } from '../use-cases/verify-identity.ts';
import { authorizeOwner } from './authorize-owner.ts';
import * as schemas from './schemas.ts';

const params = schemas.memberPath;

export function identityVerificationEndpoints(identities: { provider: IdentityProvider; hashIdentity: HashIdentity }) {
  return {
    verify: endpoint({
      summary: 'Verify the member’s identity',
      description: 'Takes the id of a verification that the person has completed at the identity provider.',
      access: ['member'],
      params,
      body: z.strictObject({ identityVerificationId: text({ max: 200 }) }),
      responses: { 200: schemas.identityVerification },
      errors: {
        409: ['identity-taken', 'already-verified', 'member-withdrawn'],
        422: ['identity-verification-unknown', 'identity-not-verified', 'identity-without-ci'],
        503: ['identity-provider-unavailable'],
      },
      handle: async ({ em, params: { id }, principal, body }) => {
        authorizeOwner(principal, id);
        const member = await verifyIdentity(em, { memberId: id, ...body }, identities);
        return { status: 200, body: schemas.showVerification(member) };
      },
    }),
    release: endpoint({
      summary: 'Release the identity verification',
      access: ['member', 'operator'],
      params,
      body: z.strictObject({ reason: text({ max: 500 }) }),
      responses: { 204: 'Released, or not verified before' },
      errors: { 404: ['member-not-found'], 409: ['member-withdrawn'] },
      handle: async ({ em, params: { id }, principal, body }) => {
        authorizeOwner(principal, id);
        await releaseIdentityVerification(em, { memberId: id, ...body });
        return { status: 204 };
      },
    }),
  };
}
