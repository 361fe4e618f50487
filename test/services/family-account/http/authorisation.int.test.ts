import { v7 as uuid } from 'uuid';
import { OPEN_TO_ALL, routesOf } from '../../../support/routes.ts';
import { type FamilyAccountApi, OPERATOR, SIDECAR, startFamilyAccountApi } from './api.ts';

let api: FamilyAccountApi;
beforeAll(async () => {
  api = await startFamilyAccountApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const asking = ['nobody', 'logged-out', 'stranger', 'member', 'owner', 'operator', 'sidecar'] as const;
type Asking = (typeof asking)[number];
const members: readonly Asking[] = ['stranger', 'member', 'owner'];

/**
 * Who may. Whoever is not named is refused: 401 for those without a valid credential, 403 for the others, and to strangers a family account
 * is as if it did not exist.
 */
const mayAsk: Record<string, readonly Asking[]> = {
  'POST /v1/family-accounts': members,
  'GET /v1/family-accounts': members,
  'GET /v1/family-accounts/:id': ['member', 'owner', 'operator'],
  'PUT /v1/family-accounts/:id/owner': ['owner'],
  'DELETE /v1/family-accounts/:id/members/:memberId': ['owner'],
  'POST /v1/family-accounts/:id/invitations': ['owner'],
  'POST /v1/invitations/:code/acceptance': members,
  'GET /v1/events/:id': ['operator'],
  'GET /v1/events': ['operator'],
  'GET /v1/event-heads': ['operator'],
  'GET /v1/topics/:topic/latest-event': ['operator'],
  'GET /v1/topics/:topic/published-events': ['operator'],
  'POST /v1/topics/:topic/republish': ['operator'],
  'POST /v1/canaries/:system': ['operator'],
  'GET /v1/canaries/:system/:id': ['operator'],
  'GET /v1/subscribers': ['operator'],
  'GET /v1/dead-letters': ['operator'],
  'GET /v1/dead-letters/:consumer/:eventId': ['operator'],
  'POST /v1/dead-letters/:consumer/:eventId/redrive': ['operator'],
  'POST /v1/dead-letters/:consumer/:eventId/discard': ['operator'],
  'GET /v1/parked-messages': ['operator'],
  'POST /v1/parked-messages/:id/release': ['operator'],
  'POST /events/member-external': ['sidecar'],
  'POST /events/family-account-internal': ['sidecar'],
  'POST /events/family-account-external': ['sidecar'],
};

test('every route is in the table, and no other', () => {
  expect(routesOf(api.app).sort()).toEqual([...Object.keys(mayAsk), ...OPEN_TO_ALL].sort());
});

test.each(OPEN_TO_ALL)('%s is open to all, whatever they show', async (name) => {
  const [method = '', path = ''] = name.split(' ');
  expect((await api.call(method, path)).status).toBe(200);
  expect((await api.call(method, path, { token: 'of-nobody' })).status).toBe(200);
});

test.each(Object.keys(mayAsk))('%s is open to whom the table says, and to nobody else', async (name) => {
  const [method = '', path = ''] = name.split(' ');
  for (const who of asking) {
    const { id, memberIds } = await api.system.family(2);
    const [owner = '', member = '', other = ''] = memberIds;
    const tokenOf = (memberId: string) => {
      const token = `session-of-${uuid()}`;
      api.system.member.sessions.set(token, { memberId, sessionNumber: '1' });
      return token;
    };
    const tokens: Record<Asking, string | undefined> = {
      nobody: undefined,
      'logged-out': 'a-session-that-has-ended',
      stranger: tokenOf(uuid()),
      member: tokenOf(member),
      owner: tokenOf(owner),
      operator: OPERATOR,
      sidecar: undefined,
    };
    const values: Record<string, string> = {
      ':id': path.startsWith('/v1/family-accounts') ? id : uuid(),
      ':memberId': other,
      ':code': 'nobody-issued-this',
      ':topic': 'family-account-external',
      ':system': 'family-account',
      ':consumer': 'nobody',
      ':eventId': uuid(),
    };
    const bodies: Record<string, object> = {
      'POST /v1/topics/:topic/republish': { eventIds: [uuid()] },
      'POST /v1/family-accounts': { name: 'Home' },
      'PUT /v1/family-accounts/:id/owner': { memberId: other },
    };
    const query = name === 'GET /v1/events' ? `?aggregateId=${id}` : '';
    const url = path.replace(/:\w+/g, (parameter) => values[parameter]!) + query;
    const { status } = await api.call(method, url, {
      token: tokens[who],
      body: bodies[name],
      sidecar: who === 'sidecar' ? SIDECAR : undefined,
    });
    const allowed = mayAsk[name]!.includes(who);
    const hidden = who === 'stranger' && path.startsWith('/v1/family-accounts/:id');
    // The sidecar has no bearer token, and nobody's bearer token makes him the sidecar.
    const unknown = ['nobody', 'logged-out', 'sidecar'].includes(who) || path.startsWith('/events/');
    const refused = unknown ? 401 : hidden ? 404 : 403;
    const letIn = ![401, 403].includes(status) && !(hidden && status === 404);
    expect([who, letIn ? 'let in' : status]).toEqual([who, allowed ? 'let in' : refused]);
    expect(status).toBeLessThan(500);
  }
});
