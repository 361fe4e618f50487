import { z } from 'zod';
import { endpoint } from '#http/http';
import { email } from '#http/schema';
import type { LoginThrottle } from '../login-throttle.ts';
import { listSessions } from '../use-cases/list-sessions.ts';
import { logIn } from '../use-cases/log-in.ts';
import { logOut } from '../use-cases/log-out.ts';
import { readSession } from '../use-cases/read-session.ts';
import { page } from './page.ts';
import * as schemas from './schemas.ts';

/** @param limits limits of wrong passwords */
export const sessionEndpoints = (limits: LoginThrottle) => ({
  logIn: endpoint({
    summary: 'Log in on a device',
    idempotent: true,
    description:
      'Send the token as `Authorization: Bearer`. Soon after, the member’s other sessions end, and other members’ sessions on the device.',
    access: ['anyone'],
    body: z.strictObject({ email: email(), password: schemas.password, device: schemas.device }),
    responses: { 201: schemas.session.extend({ token: z.string() }).meta({ id: 'NewSession' }) },
    errors: { 401: ['invalid-credentials'], 429: ['too-many-attempts'], 503: ['busy'] },
    guardRepeat: ({ em, body: { email: account }, ip: address }, isSame) =>
      limits.guard(em, { account, address }, isSame),
    handle: async ({ em, body, ip, userAgent }) => {
      const { session, token } = await logIn(em, { ...body, ip, userAgent }, limits);
      return { status: 201, body: { token, ...schemas.showSession(session) }, subject: session.memberId };
    },
  }),
  list: endpoint({
    summary: 'List your sessions, live and ended, latest first',
    access: ['member'],
    query: z.strictObject({
      before: schemas.sessionNumber.optional().describe('`next` of the previous page'),
      limit: schemas.limit,
    }),
    responses: { 200: z.object({ sessions: z.array(schemas.session), next: z.int().optional() }) },
    handle: async ({ em, principal: { memberId }, query: { before, limit } }) => {
      const { entries, next } = page(
        await listSessions(em, { memberId, before, limit: limit + 1 }),
        limit,
        ({ number }) => number,
      );
      return { status: 200, body: { sessions: entries.map(schemas.showSession), next } };
    },
  }),
  readCurrent: endpoint({
    summary: 'Get the current session',
    description: 'Other systems call it with a member’s token to identify the member and to check the session.',
    access: ['member'],
    responses: { 200: schemas.session },
    handle: async ({ em, principal: { memberId, sessionNumber } }) => {
      const session = await readSession(em, { memberId, number: Number(sessionNumber) });
      return { status: 200, body: schemas.showSession(session) };
    },
  }),
  logOut: endpoint({
    summary: 'Log out of the current session',
    access: ['member'],
    responses: { 204: 'Logged out' },
    handle: async ({ em, principal: { memberId, sessionNumber } }) => {
      await logOut(em, { memberId, number: Number(sessionNumber) });
      return { status: 204 };
    },
  }),
  logOutAnother: endpoint({
    summary: 'Log out of one of your sessions',
    access: ['member'],
    params: z.strictObject({ number: schemas.sessionNumber }),
    responses: { 204: 'Logged out, now or earlier' },
    errors: { 404: ['session-not-found'] },
    handle: async ({ em, params: { number }, principal: { memberId } }) => {
      await logOut(em, { memberId, number });
      return { status: 204 };
    },
  }),
});
