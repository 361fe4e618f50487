import { v7 as uuid } from 'uuid';
import { OPEN_TO_ALL, routesOf } from '../../../support/routes.ts';
import { aPerson, PASSWORD } from '../support.ts';
import { type MemberApi, OPERATOR, READER, type Somebody, startMemberApi } from './api.ts';

let api: MemberApi;
let another: Somebody;
beforeAll(async () => {
  api = await startMemberApi();
  another = await api.somebody();
});
afterAll(() => api[Symbol.asyncDispose]());

const asking = ['nobody', 'logged-out', 'another', 'self', 'operator', 'reader'] as const;
type Asking = (typeof asking)[number];

/** Who may; whoever is not named is refused: 401 for those without a valid credential, 403 for the others. */
const mayAsk: Record<string, readonly Asking[]> = {
  'POST /v1/members': asking,
  'GET /v1/members/:id': ['self', 'operator', 'reader'],
  'PATCH /v1/members/:id': ['self'],
  'PUT /v1/members/:id/password': ['self'],
  'DELETE /v1/members/:id': ['self', 'operator'],
  'GET /v1/members/:id/login-records': ['self', 'operator'],
  'PUT /v1/members/:id/identity-verification': ['self'],
  'DELETE /v1/members/:id/identity-verification': ['self', 'operator'],
  'POST /v1/sessions': asking,
  'GET /v1/sessions': ['another', 'self'],
  'GET /v1/sessions/current': ['another', 'self'],
  'DELETE /v1/sessions/current': ['self'],
  // What is not one's own is as if it were not there.
  'DELETE /v1/sessions/:number': ['another', 'self'],
  'GET /v1/events/:id': ['operator'],
  'GET /v1/events': ['operator'],
  'GET /v1/event-heads': ['operator', 'reader'],
  'GET /v1/topics/:topic/latest-event': ['operator', 'reader'],
  'GET /v1/topics/:topic/published-events': ['operator', 'reader'],
  'POST /v1/topics/:topic/republish': ['operator', 'reader'],
  'POST /v1/canaries/:system': ['operator', 'reader'],
  'GET /v1/canaries/:system/:id': ['operator', 'reader'],
  'GET /v1/subscribers': ['operator'],
  'GET /v1/dead-letters': ['operator'],
  'GET /v1/dead-letters/:consumer/:eventId': ['operator'],
  'POST /v1/dead-letters/:consumer/:eventId/redrive': ['operator'],
  'POST /v1/dead-letters/:consumer/:eventId/discard': ['operator'],
  'GET /v1/parked-messages': ['operator'],
  'POST /v1/parked-messages/:id/release': ['operator'],
};

/** What each route takes; the others take nothing. */
const bodies: Record<string, () => object> = {
  'POST /v1/topics/:topic/republish': () => ({ eventIds: [uuid()] }),
  'POST /v1/members': () => ({ ...aPerson(), password: PASSWORD }),
  'PATCH /v1/members/:id': () => ({ name: 'Anne' }),
  'PUT /v1/members/:id/password': () => ({ currentPassword: PASSWORD, newPassword: PASSWORD }),
  'PUT /v1/members/:id/identity-verification': () => ({ identityVerificationId: uuid() }),
  'DELETE /v1/members/:id/identity-verification': () => ({ reason: 'because' }),
  'POST /v1/sessions': () => ({ email: 'a@example.com', password: 'x', device: { id: 'a', name: 'b', os: 'c' } }),
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
    const self = await api.somebody();
    // Logging out would leave nobody to ask next.
    if (who === 'another' && name === 'DELETE /v1/sessions/current') continue;
    if (who === 'logged-out') await api.call('DELETE', '/v1/sessions/current', { token: self.token });
    const tokens = { nobody: undefined, 'logged-out': self.token, another: another.token, self: self.token };
    const token = { ...tokens, operator: OPERATOR, reader: READER }[who];
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
    const { status, body } = await api.call(method, url, { token, body: bodies[name]?.() });
    const refused = who === 'nobody' || who === 'logged-out' ? 401 : 403;
    const expected = mayAsk[name]!.includes(who) ? 'let in' : refused;
    // A log-in is refused by its own name: who asks does not matter.
    const letIn = ![401, 403].includes(status) || body?.slug === 'invalid-credentials';
    expect([who, letIn ? 'let in' : status]).toEqual([who, expected]);
    expect(status).toBeLessThan(500);
  }
});
