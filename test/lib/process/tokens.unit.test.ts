import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { envelope, parseEnvelope } from '#eventing/cloud-event';
import { daprSubscriptions } from '#eventing/dapr-subscriptions';
import { SIDECAR } from '../../support/listeners.ts';
import { as, JSON_TYPE, PET, startApi, type TestApi } from '../http/api.ts';

const delivered: string[] = [];
const unreadable: unknown[] = [];
let api: TestApi;
beforeAll(async () => {
  const deliveries = daprSubscriptions({
    topics: ['lamp-internal'],
    receiver: {
      receive: async (_: string, raw: string, error?: Error) =>
        void (error ? unreadable.push(error) : delivered.push(parseEnvelope(raw).eventId)),
    } as never,
    log: { warn: () => undefined },
  });
  api = await startApi({}, { deliveries });
});
afterAll(() => api[Symbol.asyncDispose]());

const BODY = '{"name":"Rex"}';
const post = (headers: Record<string, string>, body: string | Buffer<ArrayBuffer> = BODY) =>
  api.send('/v1/pets', { method: 'POST', body, headers });
const id = '0198d7a2-0000-7000-8000-000000000002';
const event = JSON.stringify(
  envelope({
    id,
    eventid: id,
    subject: id,
    source: '/lamp',
    type: 'lamp.lit',
    time: new Date(0).toISOString(),
    sequence: '1',
    traceparent: '',
    data: {},
  }),
);

describe.each<[string, (body: string) => Buffer<ArrayBuffer>]>([
  ['gzip', gzipSync],
  ['GZIP', gzipSync],
  ['x-gzip', gzipSync],
  ['X-GZip', gzipSync],
  [' gzip ', gzipSync],
  ['gzip, identity', gzipSync],
  ['identity,Gzip,', gzipSync],
  ['Deflate', deflateSync],
  ['BR', brotliCompressSync],
  ['Identity', Buffer.from],
  ['identity, IDENTITY', Buffer.from],
])('The content coding %j', (coding, pack) => {
  test('is decoded in a request', async () => {
    expect((await post({ ...JSON_TYPE, 'content-encoding': coding }, pack(BODY))).status).toBe(201);
  });

  test('is decoded in a delivery', async () => {
    delivered.length = 0;
    unreadable.length = 0;
    const headers = { 'dapr-api-token': SIDECAR, 'content-encoding': coding };
    const url = `${api.urls.sidecar}/events/lamp-internal`;
    const body = await (await fetch(url, { method: 'POST', headers, body: pack(event) })).json();
    expect([body, delivered, unreadable]).toEqual([{ status: 'SUCCESS' }, [id], []]);
  });
});

test.each(['snappy', 'gzip, br', 'gzip, gzip', 'x-br', 'gzip;q=1', 'compress'])(
  'an unknown content coding is refused: %s',
  async (coding) => {
    const { status, body } = await post({ ...JSON_TYPE, 'content-encoding': coding });
    expect([status, body.slug]).toEqual([415, 'unsupported-media-type']);
  },
);

test.each([
  'APPLICATION/JSON',
  'application/json;charset=utf-8',
  'Application/Json ; Charset="UTF-8"',
  'application/json; charset=utf8',
  'application/json; profile="a;charset=latin1"',
  'application/json;',
])('a content type of JSON in UTF-8 is accepted: %s', async (type) => {
  expect((await post({ 'content-type': type })).status).toBe(201);
});

test.each(['application/json; charset=utf-16', 'application/json; charset="latin1"', 'json', 'application/ json'])(
  'a content type other than JSON in UTF-8 is refused: %s',
  async (type) => {
    expect((await post({ 'content-type': type })).status).toBe(415);
  },
);

test.each(['bearer m', 'BEARER m', 'Bearer   m'])(
  'the authentication scheme is accepted in any spelling: %s',
  async (authorization) => {
    expect((await api.send(PET, { headers: { authorization } })).status).toBe(200);
  },
);

test.each(['application/CloudEvents+JSON', 'APPLICATION/CLOUDEVENTS-BATCH+JSON; charset=UTF-8'])(
  'an event without a subscription is answered 503: %s',
  async (type) => {
    const headers = { 'content-type': type };
    expect((await api.send('/events/unknown', { method: 'POST', body: '{}', headers })).status).toBe(503);
  },
);

test.each([
  ['Transfer-Encoding: Chunked', `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`],
  ['TRANSFER-ENCODING: CHUNKED', `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`],
  [`content-length:  ${BODY.length} \r\nExpect: 100-Continue`, BODY],
])('the framing of a body is accepted: %j', async (header, body) => {
  const socket = connect(api.port, '127.0.0.1');
  await once(socket, 'connect');
  const head = `POST /v1/pets HTTP/1.1\r\nHost: x\r\nConnection: Close\r\nContent-Type: application/json\r\n${header}`;
  socket.end(`${head}\r\n\r\n${body}`);
  expect(await text(socket)).toContain('HTTP/1.1 201');
});

test('an Accept header of any form is accepted', async () => {
  for (const accept of ['APPLICATION/JSON', 'text/csv', '*/*;q=0', ';'])
    expect((await api.send(PET, { headers: { ...as('m').headers, accept } })).status).toBe(200);
});
