import { v7 as uuid } from 'uuid';
import type { Listener } from '#http/listeners';
import { isRefused, listeners } from '../../../support/call.ts';
import { OPEN_TO_ALL, routesOf } from '../../../support/routes.ts';
import { aPerson, PASSWORD } from '../support.ts';
import { type LoggedInMember, type MemberApi, OPERATOR, READER, startMemberApi } from './api.ts';

let api: MemberApi;
let another: LoggedInMember;
beforeAll(async () => {
  api = await startMemberApi();
  another = await api.createMember();
});
afterAll(() => api[Symbol.asyncDispose]());

const requesters = ['anonymous', 'logged-out', 'another', 'self', 'operator', 'reader'] as const;
type Requester = (typeof requesters)[number];

/** The requesters whose credentials a listener accepts. */
const accepted: Record<Listener, readonly Requester[]> = {
  public: ['anonymous', 'logged-out', 'another', 'self'],
  sidecar: ['another', 'self', 'reader'],
  operations: ['operator'],
};

/** The requesters that a route allows, where their credentials are accepted; all others are refused. */
const allowed: Record<string, readonly Requester[]> = {
  'POST /v1/members': requesters,
  'GET /v1/members/:id': ['self', 'operator', 'reader'],
  'PATCH /v1/members/:id': ['self'],
  'PUT /v1/members/:id/password': ['self'],
  'DELETE /v1/members/:id': ['self', 'operator'],
  'GET /v1/members/:id/login-records': ['self', 'operator'],
  'PUT /v1/members/:id/identity-verification': ['self'],
  'DELETE /v1/members/:id/identity-verification': ['self', 'operator'],
  'POST /v1/sessions': requesters,
  'GET /v1/sessions': ['another', 'self'],
  'GET /v1/sessions/current': ['another', 'self'],
  'DELETE /v1/sessions/current': ['self'],
  // Another member's session is answered 404, which does not count as refused.
  'DELETE /v1/sessions/:number': ['another', 'self'],
  'GET /v1/events/:id': ['operator'],
  'GET /v1/events': ['operator'],
  'GET /v1/event-heads': ['operator', 'reader'],
  'GET /v1/topics/:topic/latest-event': ['operator', 'reader'],
  'GET /v1/topics/:topic/published-events': ['operator', 'reader'],
  'POST /v1/topics/:topic/republish': ['operator', 'reader'],
  'POST /v1/canaries/:system': ['operator', 'reader'],
  'GET /v1/canaries/:system/:id': ['operator', 'reader'],
  'GET /v1/discrepancies': ['operator'],
  'GET /v1/subscribers': ['operator'],
  'GET /v1/dead-letters': ['operator'],
  'GET /v1/dead-letters/:consumer/:eventId': ['operator'],
  'POST /v1/dead-letters/:consumer/:eventId/redrive': ['operator'],
  'POST /v1/dead-letters/:consumer/:eventId/discard': ['operator'],
  'GET /v1/parked-messages': ['operator'],
  'POST /v1/parked-messages/:id/release': ['operator'],
  'POST /v1/dead-letters/redrive': ['operator'],
  'POST /v1/dead-letters/discard': ['operator'],
  'POST /v1/parked-messages/release': ['operator'],
  'GET /v1/gaps': ['operator'],
  'GET /v1/missing-events': ['operator'],
  'POST /v1/gaps/skip': ['operator'],
};

/** Request bodies by route; the other routes take none. */
const bodies: Record<string, () => object> = {
  'POST /v1/dead-letters/redrive': () => ({ filter: {}, expected: 1, reason: 'because' }),
  'POST /v1/dead-letters/discard': () => ({ filter: {}, expected: 1, reason: 'because' }),
  'POST /v1/parked-messages/release': () => ({ filter: {}, expected: 1, reason: 'because' }),
  'POST /v1/gaps/skip': () => ({ consumer: 'a', source: '/b', aggregateId: uuid(), toSequence: 2, reason: 'because' }),
  'POST /v1/topics/:topic/republish': () => ({ eventIds: [uuid()] }),
  'POST /v1/members': () => ({ ...aPerson(), password: PASSWORD }),
  'PATCH /v1/members/:id': () => ({ name: 'Anne' }),
  'PUT /v1/members/:id/password': () => ({ currentPassword: PASSWORD, newPassword: PASSWORD }),
  'PUT /v1/members/:id/identity-verification': () => ({ identityVerificationId: uuid() }),
  'DELETE /v1/members/:id/identity-verification': () => ({ reason: 'because' }),
  'POST /v1/sessions': () => ({ email: 'a@example.com', password: 'x', device: { id: 'a', name: 'b', os: 'c' } }),
};

test.each(listeners)('the %s listener serves exactly the routes of the table', (at) => {
  const served = Object.keys(allowed).filter((name) => allowed[name]!.some((it) => accepted[at].includes(it)));
  // Routes open to all are for callers without credentials, which only the public listener serves.
  const expected = served.filter((name) => at === 'public' || allowed[name] !== requesters);
  expect(routesOf(api.app, at).sort()).toEqual([...expected, ...OPEN_TO_ALL[at]].sort());
});

test.each(listeners.flatMap((at) => OPEN_TO_ALL[at].map((name) => [name, at] as const)))(
  '%s on the %s listener is open to all callers',
  async (name, at) => {
    const [method = '', path = ''] = name.split(' ');
    expect((await api.call(method, path, { at })).status).toBe(200);
    expect((await api.call(method, path, { at, token: 'unknown-token' })).status).toBe(200);
  },
);

test.each(Object.keys(allowed))('%s allows exactly the listed requesters', async (name) => {
  const [method = '', path = ''] = name.split(' ');
  const isOpen = allowed[name] === requesters;
  for (const requester of requesters) {
    // Skipped: it would end the session that later requests need.
    if (requester === 'another' && name === 'DELETE /v1/sessions/current') continue;
    let self = await api.createMember();
    if (requester === 'logged-out') await api.call('DELETE', '/v1/sessions/current', { token: self.token });
    for (const at of listeners) {
      const tokens = { anonymous: undefined, 'logged-out': self.token, another: another.token, self: self.token };
      const token = { ...tokens, operator: OPERATOR, reader: READER }[requester];
      const values: Record<string, string> = {
        ':id': path.startsWith('/v1/members') ? self.id : uuid(),
        ':number': `${self.number}`,
        ':topic': 'member-external',
        ':system': 'member',
        ':consumer': 'nobody',
        ':eventId': uuid(),
      };
      const query = name === 'GET /v1/events' ? `?aggregateId=${self.id}` : '';
      const url = path.replace(/:\w+/g, (parameter) => values[parameter]!) + query;
      const answer = await api.call(method, url, { token, body: bodies[name]?.(), at });
      // A failed login has a slug of its own, which does not depend on the requester.
      const isAllowed = !isRefused(answer) || answer.body?.slug === 'invalid-credentials';
      const isListed = allowed[name]!.includes(requester) && accepted[at].includes(requester);
      const expected = isOpen ? at === 'public' : isListed;
      expect([requester, at, isAllowed]).toEqual([requester, at, expected]);
      expect(answer.status).toBeLessThan(500);
      // The request may have ended the session or withdrawn the member.
      if (isAllowed && requester === 'self' && method !== 'GET') self = await api.createMember();
    }
  }
});
