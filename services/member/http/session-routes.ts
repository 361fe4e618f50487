import { z } from 'zod';
import { type Route, route } from '#service/http';
import { email } from '#service/schema';
import type { LogInLimits } from '../log-in-limits.ts';
import { listSessions } from '../use-cases/list-sessions.ts';
import { logIn } from '../use-cases/log-in.ts';
import { logOut } from '../use-cases/log-out.ts';
import { readSession } from '../use-cases/read-session.ts';
import { page } from './page.ts';
import * as schemas from './schemas.ts';

/** @param limits for those who try passwords */
export const sessionRoutes = (limits: LogInLimits): Route[] => [
  route({
    method: 'POST',
    path: '/v1/sessions',
    summary: 'Log in on a device',
    idempotent: true,
    description:
      'The token goes into `Authorization: Bearer`. A log-in ends the member’s other sessions, and those of others on the device, soon after.',
    access: ['anyone'],
    body: z.strictObject({ email: email(), password: schemas.password, device: schemas.device }),
    responses: { 201: schemas.session.extend({ token: z.string() }).meta({ id: 'NewSession' }) },
    errors: { 401: ['invalid-credentials'], 429: ['too-many-attempts'], 503: ['busy'] },
    handle: async ({ em, body, ip, userAgent }) => {
      const { session, token } = await logIn(em, { ...body, ip, userAgent }, limits);
      return { status: 201, body: { token, ...schemas.showSession(session) } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/sessions',
    summary: 'One’s own sessions, live and ended, the latest first',
    access: ['member'],
    query: z.strictObject({
      before: schemas.sessionNumber.optional().describe('`next` of the page before'),
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
  route({
    method: 'GET',
    path: '/v1/sessions/current',
    summary: 'The session that this is asked in',
    description: 'Other systems ask it with a member’s token, to know whose it is and whether it still is.',
    access: ['member'],
    responses: { 200: schemas.session },
    handle: async ({ em, principal: { memberId, sessionNumber } }) => {
      const session = await readSession(em, { memberId, number: Number(sessionNumber) });
      return { status: 200, body: schemas.showSession(session) };
    },
  }),
  route({
    method: 'DELETE',
    path: '/v1/sessions/current',
    summary: 'Log out',
    access: ['member'],
    responses: { 204: 'Logged out' },
    handle: async ({ em, principal: { memberId, sessionNumber } }) => {
      await logOut(em, { memberId, number: Number(sessionNumber) });
      return { status: 204 };
    },
  }),
  route({
    method: 'DELETE',
    path: '/v1/sessions/:number',
    summary: 'Log out another of one’s own sessions',
    access: ['member'],
    params: z.strictObject({ number: schemas.sessionNumber }),
    responses: { 204: 'Logged out, now or before' },
    errors: { 404: ['session-not-found'] },
    handle: async ({ em, params: { number }, principal: { memberId } }) => {
      await logOut(em, { memberId, number });
      return { status: 204 };
    },
  }),
];
