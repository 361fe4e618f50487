import { z } from 'zod';
import { type Route, route } from '#service/http';
import { text } from '#service/schema';
import type { HashIdentity } from '../identities.ts';
import type { IdentityProvider } from '../identity-provider.ts';
import { releaseIdentityVerification } from '../use-cases/release-identity-verification.ts';
import { verifyIdentity } from '../use-cases/verify-identity.ts';
import { mustOwn } from './own.ts';
import * as schemas from './schemas.ts';

const path = '/v1/members/:id/identity-verification';
const params = schemas.memberPath;

export function identityVerificationRoutes(identities: {
  provider: IdentityProvider;
  hashIdentity: HashIdentity;
}): Route[] {
  return [
    route({
      method: 'PUT',
      path,
      summary: 'Verify who the member is, from a verification gone through at the identity provider',
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
        mustOwn(principal, id);
        const member = await verifyIdentity(em, { memberId: id, ...body }, identities);
        return { status: 200, body: schemas.showVerification(member) };
      },
    }),
    route({
      method: 'DELETE',
      path,
      summary: 'Release the verification',
      access: ['member', 'operator'],
      params,
      body: z.strictObject({ reason: text({ max: 500 }) }),
      responses: { 204: 'The member is not verified, any more or anyway' },
      errors: { 404: ['member-not-found'], 409: ['member-withdrawn'] },
      handle: async ({ em, params: { id }, principal, body }) => {
        mustOwn(principal, id);
        await releaseIdentityVerification(em, { memberId: id, ...body });
        return { status: 204 };
      },
    }),
  ];
}
