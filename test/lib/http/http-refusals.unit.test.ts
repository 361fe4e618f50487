import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { as, JSON_TYPE, PET, startApi, type TestApi } from './api.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const post = (body: RequestInit['body'], headers: Record<string, string> = JSON_TYPE) =>
  api.send('/v1/pets', { method: 'POST', body, headers });

/** Sends a raw request, such as no HTTP client would send. */
async function sendRaw(request: string): Promise<string> {
  const socket = connect(api.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.end(request);
  return readText(socket);
}

describe('An invalid body', () => {
  const utf16 = Buffer.from('{"name":"Rex"}', 'utf16le');
  test.each<[string, RequestInit['body'], number, string]>([
    ['is cut off', '{"name":', 400, 'malformed-body'],
    ['is an array', '[]', 400, 'malformed-body'],
    ['is null', 'null', 400, 'malformed-body'],
    ['is a number', '1', 400, 'malformed-body'],
    ['is invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), 400, 'malformed-body'],
    ['is UTF-16', utf16, 400, 'malformed-body'],
    ['is nested deeply', `{"name":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 400, 'invalid-request'],
    ['is nested deeply in unknown fields', `${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}`, 400, 'invalid-request'],
    ['is larger than 256 KB', JSON.stringify({ name: 'x'.repeat(256 * 1024) }), 413, 'body-too-large'],
    ['is far larger', 'x'.repeat(10_000_000), 413, 'body-too-large'],
    ['is missing', '', 400, 'invalid-request'],
    ['lacks a field', '{}', 400, 'invalid-request'],
    ['names a field twice, the second time wrongly', '{"name":"Rex","name":1}', 400, 'invalid-request'],
    ['sets the prototype', '{"name":"Rex","__proto__":{"admin":true}}', 400, 'invalid-request'],
  ])('that %s is refused', async (_, body, status, slug) => {
    const answer = await post(body);
    expect([answer.status, answer.body.slug]).toEqual([status, slug]);
  });

  test('is described by messages without terms of the code', async () => {
    const { body } = await post('{"home":{"city":1}}');
    expect(body.errors).toEqual([
      { in: 'body', pointer: '/name', detail: 'is missing' },
      { in: 'body', pointer: '/home/city', detail: 'is not a string' },
    ]);
  });

  test('is described by a pointer to each invalid field, without its values', async () => {
    const { status, body, headers } = await post('{"name":"","email":"secret","home":{"city":1,"a/b~c":2},"x":3}');
    expect(status).toBe(400);
    expect(headers.get('content-type')).toBe('application/problem+json');
    expect(body).toMatchObject({
      type: 'urn:problem:invalid-request',
      title: 'Bad Request',
      status: 400,
      slug: 'invalid-request',
    });
    expect(body.instance).toMatch(/^urn:trace:[0-9a-f]{32}$/);
    expect(body.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual(
      ['/email', '/home/a~1b~0c', '/home/city', '/name', '/name', '/x'].sort(),
    );
    expect(JSON.stringify(body)).not.toContain('secret');
  });

  test('is described by at most 20 errors', async () => {
    const fields = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`${i}`.padEnd(30, 'x'), 1]));
    const { body } = await post(JSON.stringify(fields));
    expect(body.errors).toHaveLength(20);
  });

  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/json; charset=latin1',
    'application/jsonx',
    ';',
    'application/xml',
  ])('that has the content type %s is not read', async (type) => {
    expect((await post('{"name":"Rex"}', { 'content-type': type })).body.slug).toBe('unsupported-media-type');
  });

  test('is refused where no body is declared', async () => {
    const authorization = 'Bearer m';
    const answers = await Promise.all([
      api.send(PET, { method: 'DELETE', body: '{"why":1}', headers: { ...JSON_TYPE, authorization } }),
      api.send(PET, { method: 'DELETE', body: 'why', headers: { authorization } }),
      api.send(PET, { method: 'DELETE', body: '{}', headers: { ...JSON_TYPE, authorization } }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([400, 415, 204]);
  });

  test('that has a broken or unknown compression is refused', async () => {
    expect((await post('not gzip', { ...JSON_TYPE, 'content-encoding': 'gzip' })).status).toBe(400);
    expect((await post('{}', { ...JSON_TYPE, 'content-encoding': 'snappy' })).status).toBe(415);
  });

  test('that is too large after decompression is refused', async () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000, 'x'));
    expect((await post(bomb, { ...JSON_TYPE, 'content-encoding': 'gzip' })).status).toBe(413);
  });
});

const noise = randomBytes(2_000_000);
const inOneChunk = Buffer.concat([
  Buffer.from(`${noise.length.toString(16)}\r\n`),
  noise,
  Buffer.from('\r\n0\r\n\r\n'),
]);
const compressed = gzipSync(noise);

test.each<[string, string, Buffer, number]>([
  ['is too large', `Content-Length: ${noise.length}`, noise, 413],
  ['is too large and chunked', 'Transfer-Encoding: chunked', inOneChunk, 413],
  [
    'is too large after decompression',
    `Content-Encoding: gzip\r\nContent-Length: ${compressed.length}`,
    compressed,
    413,
  ],
  ['has an unknown content coding', `Content-Encoding: snappy\r\nContent-Length: ${noise.length}`, noise, 415],
  ['is not compressed as declared', `Content-Encoding: gzip\r\nContent-Length: ${noise.length}`, noise, 400],
])(
  'a body that %s does not block the next request',
  async (_, header, body, status) => {
    const socket = connect(api.port, '127.0.0.1');
    socket.write(`POST /v1/pets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${header}\r\n\r\n`);
    socket.write(body);
    socket.write('GET /docs/init.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const answers = await readText(socket);
    expect(answers.match(/HTTP\/1.1 \d+/g)).toEqual([`HTTP/1.1 ${status}`, 'HTTP/1.1 200']);
  },
  20_000,
);

describe('A path', () => {
  test.each([
    ['/v1/pets/unknown', 400, 'invalid-request'],
    ['/v1/pets/%00', 400, 'invalid-request'],
    ['/v1/pets/%', 400, 'invalid-request'],
    ['/v1/pets/%ff%fe', 400, 'invalid-request'],
    [`${PET}?limit=many`, 400, 'invalid-request'],
    [`${PET}?limit=1&limit=2`, 400, 'invalid-request'],
    [`${PET}?unknown=1`, 400, 'invalid-request'],
    [`${PET}?__proto__=1`, 400, 'invalid-request'],
    [`${PET}?limit=%ff`, 400, 'invalid-request'],
    [`${PET}/`, 404, 'no-such-route'],
    [PET.toUpperCase(), 404, 'no-such-route'],
    ['//v1/pets', 404, 'no-such-route'],
    ['/docs/../../package.json', 404, 'no-such-route'],
    ['/docs/%2e%2e%2fpackage.json', 404, 'no-such-route'],
  ])('%s is answered %i %s', async (path, status, slug) => {
    const answer = await api.send(path, as('m'));
    expect([answer.status, answer.body.slug]).toEqual([status, slug]);
  });

  test('that has an invalid parameter is named in the errors', async () => {
    const { body } = await api.send('/v1/pets/unknown', as('m'));
    expect(body.errors).toEqual([{ in: 'path', pointer: '/id', detail: 'is not a UUID' }]);
  });

  test.each(['PUT', 'PATCH', 'POST', 'PROPFIND'])('answers 405 with its allowed methods to %s', async (method) => {
    const { status, body, headers } = await api.send(PET, { method });
    expect([status, body.slug]).toEqual([405, 'method-not-allowed']);
    expect(headers.get('allow')?.split(', ').sort()).toEqual(['DELETE', 'GET', 'HEAD', 'OPTIONS']);
  });

  test('answers OPTIONS with its allowed methods', async () => {
    const { status, headers } = await api.send('/v1/pets', { method: 'OPTIONS' });
    expect([status, headers.get('allow')]).toEqual([204, 'POST, OPTIONS']);
  });

  test.each<[string, Record<string, string>]>([
    ['one event', { 'content-type': 'application/cloudevents+json' }],
    ['a batch of events', { 'content-type': 'application/cloudevents-batch+json' }],
    ['an event in binary mode', { 'content-type': 'application/json', 'ce-id': '1' }],
  ])('that has no route answers 503 to %s, since daprd drops events at 404', async (_, headers) => {
    const { status, body } = await api.send('/events/unknown', { method: 'POST', body: '{}', headers });
    expect([status, body.slug]).toEqual([503, 'no-such-subscription']);
  });
});

describe('An unusual request', () => {
  const host = 'Host: localhost\r\nConnection: close\r\n';
  test.each([
    ['headers over 16 KB', `GET / HTTP/1.1\r\n${host}X: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['a request line of nonsense', 'nonsense\r\n\r\n', 400],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
    [
      'a body shorter than declared',
      `POST /v1/pets HTTP/1.1\r\n${host}Content-Type: application/json\r\nContent-Length: 5\r\n\r\n{"`,
      400,
    ],
    ['an absolute URL', `GET http://localhost/docs/init.js HTTP/1.1\r\n${host}\r\n`, 200],
    ['an asterisk', `OPTIONS * HTTP/1.1\r\n${host}\r\n`, 404],
    ['raw bytes in the path', `GET /v1/pets/\u00ff HTTP/1.1\r\n${host}Authorization: Bearer m\r\n\r\n`, 400],
    ['two lengths', `POST /v1/pets HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}`, 400],
  ])('that has %s is answered', async (_, request, status) => {
    expect(await sendRaw(request)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });
});
