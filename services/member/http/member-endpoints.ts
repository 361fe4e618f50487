import { z } from 'zod';
import { endpoint } from '#http/http';
import { email, uuid } from '#http/schema';
import type { LoginThrottle } from '../login-throttle.ts';
import { changePassword } from '../use-cases/change-password.ts';
import { changeProfile } from '../use-cases/change-profile.ts';
import { listLoginRecords } from '../use-cases/list-login-records.ts';
import { readMember } from '../use-cases/read-member.ts';
import { registerMember } from '../use-cases/register-member.ts';
import { withdrawMember } from '../use-cases/withdraw-member.ts';
import { authorizeOwner } from './authorize-owner.ts';
import { page } from './page.ts';
import * as schemas from './schemas.ts';

const params = schemas.memberPath;

/** @param limits limits of wrong passwords */
export const memberEndpoints = (limits: LoginThrottle) => ({
  register: endpoint({
    summary: 'Register a member',
    idempotent: true,
    access: ['anyone'],
    body: z.strictObject({ email: email(), password: schemas.newPassword, name: schemas.personName }),
    responses: { 201: schemas.memberInFull },
    errors: { 409: ['email-taken'], 429: ['too-many-attempts'], 503: ['busy'] },
    guardRepeat: ({ em, body: { email: account }, ip: address }, isSame) =>
      limits.guard(em, { account, address }, isSame),
    handle: async ({ em, body }) => {
      const member = await registerMember(em, body);
      const headers = { Location: `/v1/members/${member.id}` };
      return { status: 201, body: schemas.showMember(member), headers, subject: member.id };
    },
  }),
  read: endpoint({
    summary: 'Get the newest state of a member',
    description: 'Complete for the member and for operators; without personal data for other systems.',
    access: ['member', 'operator', 'reader'],
    params,
    responses: { 200: z.union([schemas.memberInFull, schemas.memberForReaders, schemas.withdrawnMember]) },
    errors: { 404: ['member-not-found'] },
    handle: async ({ em, params: { id }, principal }) => {
      authorizeOwner(principal, id);
      const member = await readMember(em, id);
      return { status: 200, body: schemas.showMember(member, { reader: principal.kind === 'reader' }) };
    },
  }),
  changeProfile: endpoint({
    summary: 'Change the name or e-mail address',
    access: ['member'],
    params,
    body: z.strictObject({ email: email().optional(), name: schemas.personName.optional() }),
    responses: { 200: schemas.memberInFull },
    errors: { 409: ['email-taken', 'member-withdrawn'] },
    handle: async ({ em, params: { id }, principal, body }) => {
      authorizeOwner(principal, id);
      return { status: 200, body: schemas.showMember(await changeProfile(em, { memberId: id, ...body })) };
    },
  }),
  changePassword: endpoint({
    summary: 'Change the password and end all other sessions',
    access: ['member'],
    params,
    body: z.strictObject({ currentPassword: schemas.password, newPassword: schemas.newPassword }),
    responses: { 204: 'Changed' },
    errors: { 409: ['member-withdrawn'], 422: ['wrong-password'], 429: ['too-many-attempts'], 503: ['busy'] },
    handle: async ({ em, params: { id }, principal, body, ip }) => {
      authorizeOwner(principal, id);
      await changePassword(em, { memberId: id, sessionNumber: Number(principal.sessionNumber), ip, ...body }, limits);
      return { status: 204 };
    },
  }),
  withdraw: endpoint({
    summary: 'Withdraw a member and erase their personal data',
    description: 'Ends all sessions. Cannot be undone.',
    access: ['member', 'operator'],
    params,
    responses: { 204: 'Withdrawn' },
    errors: { 404: ['member-not-found'] },
    handle: async ({ em, params: { id }, principal }) => {
      authorizeOwner(principal, id);
      await withdrawMember(em, id);
      return { status: 204 };
    },
  }),
  listLoginRecords: endpoint({
    summary: 'List a member’s login records, latest first',
    access: ['member', 'operator'],
    params,
    query: z.strictObject({ before: uuid().optional().describe('`next` of the previous page'), limit: schemas.limit }),
    responses: { 200: z.object({ loginRecords: z.array(schemas.loginRecord), next: z.uuid().optional() }) },
    handle: async ({ em, params: { id }, principal, query: { before, limit } }) => {
      authorizeOwner(principal, id);
      const records = await listLoginRecords(em, { memberId: id, before, limit: limit + 1 });
      const { entries, next } = page(records, limit, ({ eventId }) => eventId);
      return { status: 200, body: { loginRecords: entries.map(schemas.showLoginRecord), next } };
    },
  }),
});
