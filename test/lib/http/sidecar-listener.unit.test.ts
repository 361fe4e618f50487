import { INVOKED, SIDECAR } from '../../support/listeners.ts';
import { as, PET, startApi, type TestApi } from './api.ts';

let api: TestApi;
beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api[Symbol.asyncDispose]());

const event = { method: 'POST', body: '{}' };
const asEvent = { 'content-type': 'application/cloudevents+json' };
const deliver = (headers: Record<string, string>, path = '/events/pets') =>
  fetch(api.urls.sidecar + path, { ...event, headers: { ...asEvent, ...headers } });

describe('The sidecar’s listener', () => {
  test('accepts a delivery of the sidecar', async () => {
    const answer = await deliver({ 'dapr-api-token': SIDECAR });
    expect([answer.status, await answer.json(), api.delivered]).toEqual([200, { status: 'SUCCESS' }, ['/events/pets']]);
  });

  test('logs deliveries at debug level, and refused ones at info level', async () => {
    await deliver({ 'dapr-api-token': SIDECAR });
    await deliver({ 'dapr-api-token': 'guessed' });
    const lines = api.lines.filter(({ msg }) => msg === 'request');
    expect(lines.map(({ level, status }) => [level, status])).toEqual([
      [20, 200],
      [30, 401],
    ]);
  });

  test.each<[string, Record<string, string>]>([
    ['no token', {}],
    ['a wrong token', { 'dapr-api-token': 'guessed' }],
    ['a wrong token of the same length', { 'dapr-api-token': 'x'.repeat(SIDECAR.length) }],
    ['a longer token', { 'dapr-api-token': `${SIDECAR}x` }],
    ['its token as the caller’s credential', { authorization: `Bearer ${SIDECAR}` }],
  ])('refuses %s, for events and calls', async (_, headers) => {
    expect((await deliver(headers)).status).toBe(401);
    expect(api.delivered).toEqual([]);
    const invoked = { 'dapr-caller-app-id': 'another', authorization: 'Bearer m', ...headers };
    expect((await fetch(`${api.urls.sidecar}${PET}`, { headers: invoked })).status).toBe(401);
  });

  test('answers 503 to an event without a subscription, since daprd drops events at 404', async () => {
    const answer = await deliver({ 'dapr-api-token': SIDECAR }, '/events/unknown');
    expect([answer.status, await answer.json()]).toEqual([
      503,
      expect.objectContaining({ slug: 'no-such-subscription' }),
    ]);
  });

  test('serves the API only to invocations, and refuses events delivered to its paths', async () => {
    expect((await api.send(PET, { ...as('m'), at: 'sidecar' })).status).toBe(200);
    const headers = { 'dapr-api-token': SIDECAR, authorization: 'Bearer m' };
    expect((await fetch(`${api.urls.sidecar}${PET}`, { headers })).status).toBe(403);
    expect((await deliver(headers, PET)).status).toBe(403);
  });

  test('serves only the health check without a token', async () => {
    expect((await fetch(`${api.urls.sidecar}/healthz`)).status).toBe(200);
    for (const path of ['/readyz', '/docs/', '/openapi.json', '/asyncapi.json', '/'])
      expect([path, (await fetch(api.urls.sidecar + path, { headers: INVOKED })).status]).toEqual([path, 404]);
    api.health.markUnhealthy();
    expect((await fetch(`${api.urls.sidecar}/healthz`)).status).toBe(503);
  });
});

describe('A credential', () => {
  test.each(['public', 'sidecar'] as const)('that belongs to an operator is unknown at the %s listener', async (at) => {
    const { status, headers } = await api.send(PET, { ...as('o'), at });
    expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer error="invalid_token"']);
  });

  test.each([
    ['m', 'operations'],
    ['r', 'operations'],
    ['r', 'public'],
  ] as const)('named %s is unknown at the %s listener', async (token, at) => {
    const { status, headers } = await api.send(PET, { ...as(token), at });
    expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer error="invalid_token"']);
  });

  test('grants the routes of its listener', async () => {
    expect((await api.send(PET, { ...as('m'), at: 'public' })).status).toBe(200);
    expect((await api.send(PET, { ...as('o'), at: 'operations' })).status).toBe(200);
  });
});

test('a route without an allowed caller at a listener is not found there', async () => {
  expect((await api.send('/v1/failures/bug', { ...as('o'), at: 'operations' })).body.slug).toBe('no-such-route');
  expect((await api.send('/readyz')).body.slug).toBe('no-such-route');
  expect((await api.send('/healthz')).body.slug).toBe('no-such-route');
});

test('a listener’s API document lists only its own routes and credentials', async () => {
  const documentAt = async (at: 'public' | 'operations') => (await api.send('/openapi.json', { at })).body;
  const [open, operations] = [await documentAt('public'), await documentAt('operations')];
  expect(open.paths['/v1/pets/{id}'].get.security).toEqual([{ member: [] }]);
  expect(Object.keys(open.components.securitySchemes)).toEqual(['member']);
  expect(Object.keys(operations.paths)).toEqual(['/v1/pets/{id}']);
  expect(operations.paths['/v1/pets/{id}'].get.security).toEqual([{ operator: [] }]);
  expect(operations.info.title).toBe('Pets <&>, operations');
});
