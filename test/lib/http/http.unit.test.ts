import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { as, JSON_TYPE, PET, startApi, type TestApi } from './api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const post = (body: RequestInit['body'], headers: Record<string, string> = JSON_TYPE) =>
  api.send('/v1/pets', { method: 'POST', body, headers });

describe('A valid request', () => {
  test('reaches its handler, and the response has only declared fields', async () => {
    const { status, body, headers } = await post('{"name":"Rex","home":{"city":"Seoul"}}');
    expect(status).toBe(201);
    expect(body).toEqual({ name: 'Rex', home: { city: 'Seoul' } });
    expect(headers.get('location')).toBe('/v1/pets/1');
    const read = await api.send(PET, as('m'));
    expect(read.body).toEqual({ id: PET.slice(9), name: 'Rex', at: '1970-01-01T00:00:00.000Z' });
  });

  test('may be compressed, have a byte order mark and any Accept header', async () => {
    const compressed = { ...JSON_TYPE, 'content-encoding': 'gzip' };
    expect((await post(gzipSync('{"name":"Rex"}'), compressed)).status).toBe(201);
    expect(
      (await post('\ufeff{"name":"Rex"}', { 'content-type': 'application/json; charset=UTF-8', accept: 'text/csv' }))
        .status,
    ).toBe(201);
  });

  test('is answered without a body when the method is HEAD', async () => {
    const { status, body, headers } = await api.send(PET, { method: 'HEAD', ...as('m') });
    expect([status, body, headers.get('content-type')]).toEqual([200, '', 'application/json; charset=utf-8']);
  });

  test('is answered without a body where none is declared', async () => {
    expect(await api.send(`${PET}/wakings`, { method: 'POST' })).toMatchObject({ status: 202, body: '' });
    expect((await api.send(PET, { method: 'DELETE', ...as('m') })).status).toBe(204);
  });

  test('is answered with Connection: close during shutdown, also when it began before', async () => {
    await using stopping = await startApi();
    const body = new TransformStream<Uint8Array>();
    const writer = body.writable.getWriter();
    const begun = once(stopping.server, 'request');
    const init = { method: 'POST', headers: JSON_TYPE, body: body.readable, duplex: 'half' };
    const answer = stopping.send('/v1/pets', init as RequestInit);
    await writer.write(new TextEncoder().encode('{"name":'));
    await begun;
    stopping.health.markUnready();
    await writer.write(new TextEncoder().encode('"Rex"}'));
    await writer.close();
    const { status, headers } = await answer;
    expect([status, headers.get('connection')]).toEqual([201, 'close']);
    expect((await stopping.send(PET, as('m'))).headers.get('connection')).toBe('close');
    expect((await api.send(PET, as('m'))).headers.get('connection')).toBe('keep-alive');
  });

  test('is answered with headers that restrict browsers', async () => {
    const { headers } = await api.send(PET, as('m'));
    expect(headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'");
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('cache-control')).toBe('no-store');
  });
});

describe('A caller', () => {
  const outcome = async (path: string, init: RequestInit = {}) => {
    const { status, headers } = await api.send(path, init);
    return [status, headers.get('www-authenticate')];
  };

  test('that sends no token is answered 401 with a challenge', async () => {
    expect(await outcome(PET)).toEqual([401, 'Bearer']);
  });

  test.each([
    ['an unknown token', 'Bearer unknown'],
    ['no token', 'Bearer'],
    ['a blank token', 'Bearer  '],
    ['another scheme', 'Basic bQ=='],
    ['no scheme', 'm'],
    ['two tokens', 'Bearer m m'],
    ['a token that is not ASCII', 'Bearer m\u00e9'],
    ['a huge token', `Bearer ${'m'.repeat(2_000)}`],
  ])('that sends a credential with %s is answered 401', async (_, authorization) => {
    expect(await outcome(PET, { headers: { authorization } })).toEqual([401, 'Bearer error="invalid_token"']);
  });

  test('that is authenticated and not allowed is answered 403', async () => {
    expect(await outcome(PET, as('r'))).toEqual([403, 'Bearer error="insufficient_scope"']);
  });

  test('that is allowed is answered 200', async () => {
    expect(await outcome(PET, as('m'))).toEqual([200, null]);
    expect(await outcome(PET, { headers: { authorization: 'bearer o' } })).toEqual([200, null]);
  });

  test('whose session has ended may use routes that are open to anyone', async () => {
    const headers = { ...JSON_TYPE, authorization: 'Bearer unknown' };
    expect((await post('{"name":"Rex"}', headers)).status).toBe(201);
  });
});

describe('The provenance of a call', () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const nap = (headers: Record<string, string> = {}) => api.send(`${PET}/naps`, { method: 'POST', headers });

  test('has the requester and the trace of the caller', async () => {
    const { body } = await nap({ authorization: 'Bearer r', traceparent, 'user-agent': `ua\t${'x'.repeat(600)}` });
    expect(body).toMatchObject({ who: 'reader', requestedBy: 'reader:billing', traceparent, ip: '127.0.0.1' });
    expect(body.userAgent).toHaveLength(500);
    expect((await nap()).body).toMatchObject({ who: 'anyone', requestedBy: 'anyone' });
  });

  test.each(['', 'x', `00-${'0'.repeat(32)}-b7ad6b7169203331-01`, `${traceparent}-more`, traceparent.toUpperCase()])(
    'has a new trace instead of %j',
    async (sent) => {
      const { body } = await nap({ traceparent: sent });
      expect(body.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      expect(body.traceparent).not.toContain('0af7651916cd43dd');
    },
  );
});

describe('An error', () => {
  test.each([
    ['conflict', 409, 'name-taken'],
    ['outage', 503, 'shop-unavailable'],
    ['bug', 500, 'internal-error'],
    ['string', 500, 'internal-error'],
    ['nothing', 500, 'internal-error'],
  ])('thrown as %s is answered %i %s without internal details', async (name, status, slug) => {
    const { status: answered, body, headers } = await api.send(`/v1/failures/${name}`);
    expect([answered, body.slug]).toEqual([status, slug]);
    expect(headers.get('retry-after')).toBe(status === 503 ? '5' : null);
    expect(JSON.stringify(body)).not.toMatch(/secret|not even|at .*\.ts/);
  });

  test('that is unexpected is logged with the trace id of the response', async () => {
    const { body } = await api.send('/v1/failures/bug');
    const line = api.lines.find(
      ({ traceId, msg }) => msg === 'unexpected error' && body.instance === `urn:trace:${traceId}`,
    );
    expect(line).toMatchObject({
      route: '/v1/failures/:name',
      err: { type: 'TypeError', message: 'secret internals' },
    });
  });
});

test('each request is logged once, with its route and without personal data', async () => {
  const traceparent = '00-11111111111111111111111111111111-b7ad6b7169203331-01';
  await api.send(`${PET}?limit=3&email=kim@example.com`, { headers: { authorization: 'Bearer m', traceparent } });
  const lines = api.lines.filter(({ traceId }) => traceId === traceparent.slice(3, 35));
  expect(lines).toEqual([
    expect.objectContaining({
      msg: 'request',
      method: 'GET',
      route: '/v1/pets/:id',
      status: 400,
      ms: expect.any(Number),
    }),
  ]);
  expect(JSON.stringify(lines)).not.toMatch(/kim|Bearer|0198d7a2/);
});
