import { v7 as uuid } from 'uuid';
import type { Listener } from '#http/listeners';
import { isRefused, listeners } from '../../../support/call.ts';
import { OPEN_TO_ALL, routesOf } from '../../../support/routes.ts';
import { type FamilyAccountApi, newToken, OPERATOR, SIDECAR, startFamilyAccountApi } from './api.ts';

let api: FamilyAccountApi;
beforeAll(async () => {
  api = await startFamilyAccountApi(undefined, { trustProxy: true });
});
afterAll(() => api[Symbol.asyncDispose]());

const requesters = ['anonymous', 'logged-out', 'outsider', 'member', 'owner', 'operator', 'sidecar'] as const;
/** Some routes allow readers, but the service has no reader tokens yet. */
type Requester = (typeof requesters)[number] | 'reader';
const members: readonly Requester[] = ['outsider', 'member', 'owner'];

/** The requesters whose credentials a listener accepts. */
const accepted: Record<Listener, readonly Requester[]> = {
  public: ['anonymous', 'logged-out', ...members],
  sidecar: [...members, 'sidecar', 'reader'],
  operations: ['operator'],
};

/** The requesters that a route allows; others are refused, and get 404 for an account that they do not belong to. */
const allowed: Record<string, readonly Requester[]> = {
  'POST /v1/family-accounts': members,
  'GET /v1/family-accounts': members,
  'GET /v1/family-accounts/:id': ['member', 'owner', 'operator'],
  'PUT /v1/family-accounts/:id/owner': ['owner'],
  'DELETE /v1/family-accounts/:id/members/:memberId': ['owner'],
  'POST /v1/family-accounts/:id/invitations': ['owner'],
  'POST /v1/invitations/:code/acceptance': members,
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
  'POST /events/member-external': ['sidecar'],
  'POST /events/family-account-internal': ['sidecar'],
  'POST /events/family-account-external': ['sidecar'],
};

test.each(listeners)('the %s listener serves exactly the routes of the table', (at) => {
  const expected = Object.keys(allowed).filter((name) => allowed[name]!.some((it) => accepted[at].includes(it)));
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
  // One address may send only forty unknown tokens a minute.
  const from = `192.0.2.${Object.keys(allowed).indexOf(name)}`;
  for (const requester of requesters)
    for (const at of listeners) {
      // An invoked event is accepted and becomes a dead letter: dapr-subscriptions.int.
      if (path.startsWith('/events/') && at === 'sidecar' && requester !== 'sidecar') continue;
      const { id, memberIds } = await api.system.family(2);
      const [owner = '', member = '', other = ''] = memberIds;
      const tokenOf = (memberId: string) => {
        const token = newToken();
        api.system.member.sessions.set(token, { memberId, sessionNumber: '1' });
        return token;
      };
      const tokens: Record<(typeof requesters)[number], string | undefined> = {
        anonymous: undefined,
        'logged-out': newToken(),
        outsider: tokenOf(uuid()),
        member: tokenOf(member),
        owner: tokenOf(owner),
        operator: OPERATOR,
        sidecar: undefined,
      };
      const values: Record<string, string> = {
        ':id': path.startsWith('/v1/family-accounts') ? id : uuid(),
        ':memberId': other,
        ':code': 'not-an-issued-code',
        ':topic': 'family-account-external',
        ':system': 'family-account',
        ':consumer': 'nobody',
        ':eventId': uuid(),
      };
      const bodies: Record<string, object> = {
        'POST /v1/dead-letters/redrive': { filter: {}, expected: 1, reason: 'because' },
        'POST /v1/dead-letters/discard': { filter: {}, expected: 1, reason: 'because' },
        'POST /v1/parked-messages/release': { filter: {}, expected: 1, reason: 'because' },
        'POST /v1/gaps/skip': {
          consumer: 'a',
          source: '/b',
          aggregateId: uuid(),
          toSequence: 2,
          reason: 'because',
        },
        'POST /v1/topics/:topic/republish': { eventIds: [uuid()] },
        'POST /v1/family-accounts': { name: 'Home' },
        'PUT /v1/family-accounts/:id/owner': { memberId: other },
      };
      const query = name === 'GET /v1/events' ? `?aggregateId=${id}` : '';
      const url = path.replace(/:\w+/g, (parameter) => values[parameter]!) + query;
      const sidecar = requester === 'sidecar' ? SIDECAR : undefined;
      const answer = await api.call(method, url, { token: tokens[requester], body: bodies[name], sidecar, at, from });
      const hidden = requester === 'outsider' && path.startsWith('/v1/family-accounts/:id') && answer.status === 404;
      const expected = allowed[name]!.includes(requester) && accepted[at].includes(requester);
      expect([requester, at, !isRefused(answer) && !hidden]).toEqual([requester, at, expected]);
      expect(answer.status).toBeLessThan(500);
    }
});
