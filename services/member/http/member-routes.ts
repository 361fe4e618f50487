import { z } from 'zod';
import { type Route, route } from '#service/http';
import { email, uuid } from '#service/schema';
import type { LogInLimits } from '../log-in-limits.ts';
import { changePassword } from '../use-cases/change-password.ts';
import { changeProfile } from '../use-cases/change-profile.ts';
import { listLoginRecords } from '../use-cases/list-login-records.ts';
import { readMember } from '../use-cases/read-member.ts';
import { registerMember } from '../use-cases/register-member.ts';
import { withdrawMember } from '../use-cases/withdraw-member.ts';
import { mustOwn } from './own.ts';
import { page } from './page.ts';
import * as schemas from './schemas.ts';

const params = schemas.memberPath;

/** @param limits for those who try passwords */
export const memberRoutes = (limits: LogInLimits): Route[] => [
  route({
    method: 'POST',
    path: '/v1/members',
    summary: 'Register',
    idempotent: true,
    access: ['anyone'],
    body: z.strictObject({ email: email(), password: schemas.newPassword, name: schemas.personName }),
    responses: { 201: schemas.memberInFull },
    errors: { 409: ['email-taken'], 503: ['busy'] },
    handle: async ({ em, body }) => {
      const member = await registerMember(em, body);
      return { status: 201, body: schemas.showMember(member), headers: { Location: `/v1/members/${member.id}` } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/members/:id',
    summary: 'The newest state of a member',
    description: 'In full to the member and to operators; to other systems without personal data.',
    access: ['member', 'operator', 'reader'],
    params,
    responses: { 200: z.union([schemas.memberInFull, schemas.memberForReaders, schemas.withdrawnMember]) },
    errors: { 404: ['member-not-found'] },
    handle: async ({ em, params: { id }, principal }) => {
      mustOwn(principal, id);
      const member = await readMember(em, id);
      return { status: 200, body: schemas.showMember(member, { reader: principal.kind === 'reader' }) };
    },
  }),
  route({
    method: 'PATCH',
    path: '/v1/members/:id',
    summary: 'Change name or e-mail address',
    access: ['member'],
    params,
    body: z.strictObject({ email: email().optional(), name: schemas.personName.optional() }),
    responses: { 200: schemas.memberInFull },
    errors: { 409: ['email-taken', 'member-withdrawn'] },
    handle: async ({ em, params: { id }, principal, body }) => {
      mustOwn(principal, id);
      return { status: 200, body: schemas.showMember(await changeProfile(em, { memberId: id, ...body })) };
    },
  }),
  route({
    method: 'PUT',
    path: '/v1/members/:id/password',
    summary: 'Change the password; ends all other sessions',
    access: ['member'],
    params,
    body: z.strictObject({ currentPassword: schemas.password, newPassword: schemas.newPassword }),
    responses: { 204: 'Changed' },
    errors: { 409: ['member-withdrawn'], 422: ['wrong-password'], 429: ['too-many-attempts'], 503: ['busy'] },
    handle: async ({ em, params: { id }, principal, body, ip }) => {
      mustOwn(principal, id);
      await changePassword(em, { memberId: id, sessionNumber: Number(principal.sessionNumber), ip, ...body }, limits);
      return { status: 204 };
    },
  }),
  route({
    method: 'DELETE',
    path: '/v1/members/:id',
    summary: 'Withdraw, for ever: ends all sessions and erases what is known of the person',
    access: ['member', 'operator'],
    params,
    responses: { 204: 'Withdrawn' },
    errors: { 404: ['member-not-found'] },
    handle: async ({ em, params: { id }, principal }) => {
      mustOwn(principal, id);
      await withdrawMember(em, id);
      return { status: 204 };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/members/:id/login-records',
    summary: 'The log of a member’s log-ins, the latest first',
    access: ['member', 'operator'],
    params,
    query: z.strictObject({ before: uuid().optional().describe('`next` of the page before'), limit: schemas.limit }),
    responses: { 200: z.object({ loginRecords: z.array(schemas.loginRecord), next: z.uuid().optional() }) },
    handle: async ({ em, params: { id }, principal, query: { before, limit } }) => {
      mustOwn(principal, id);
      const records = await listLoginRecords(em, { memberId: id, before, limit: limit + 1 });
      const { entries, next } = page(records, limit, ({ eventId }) => eventId);
      return { status: 200, body: { loginRecords: entries.map(schemas.showLoginRecord), next } };
    },
  }),
];
