import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import nock from 'nock';
import { type BulkEntry, type BulkResult, DaprPublisher } from '#eventing/dapr-publisher';

const PATH = '/v1.0/publish/bulk/lamp-internal/lamp-internal';
const daprd = () => nock('http://127.0.0.1:3500');
const entries = (count: number, size = 10): BulkEntry[] =>
  Array.from({ length: count }, (_, i) => ({
    entryId: `m${i}`,
    event: JSON.stringify({ id: `m${i}`, data: 'x'.repeat(size) }),
    metadata: { partitionKey: `k${i}` },
  }));

let publisher: DaprPublisher;
beforeEach(() => {
  publisher = new DaprPublisher({ port: 3500, apiToken: 'a-token-of-the-tests' });
});
// nock patches Node's own modules, which all test files of a worker share.
afterAll(() => nock.restore());
afterEach(async () => {
  await publisher[Symbol.asyncDispose]();
  nock.cleanAll();
});

/** Responses as observed from daprd 1.18.1. */
const responses = {
  brokerDown: (...ids: string[]) => ({
    failedEntries: ids.map((entryId) => ({ entryId, error: 'context deadline exceeded' })),
    errorCode: 'ERR_PUBSUB_PUBLISH_MESSAGE',
  }),
  noCloudEvent: { errorCode: 'ERR_PUBSUB_CLOUD_EVENTS_SER', message: 'cannot create cloudevent', details: [] },
  tooLarge: { errorCode: 'ERR_PUBSUB_EVENTS_SER', message: 'error when unmarshaling the request: stream too large' },
  unknownComponent: { errorCode: 'ERR_PUBSUB_NOT_FOUND', message: 'pubsub lamp-internal is not found' },
  forbidden: { errorCode: 'ERR_PUBSUB_FORBIDDEN', message: 'topic lamp-internal is not allowed for app id lamp' },
};

const outcome = ({ accepted, failed }: BulkResult) => ({
  accepted: [...accepted].sort(),
  failed: [...failed.keys()].sort(),
});

test('entries are sent as structured CloudEvents with their ids, metadata and the API token', async () => {
  let body: unknown;
  daprd()
    .post(PATH, (sent) => {
      body = sent;
      return true;
    })
    .matchHeader('dapr-api-token', 'a-token-of-the-tests')
    .matchHeader('content-type', 'application/json')
    .reply(204);
  const result = await publisher.publishBulk('lamp-internal', entries(2));
  expect(outcome(result)).toEqual({ accepted: ['m0', 'm1'], failed: [] });
  expect(body).toEqual(
    [0, 1].map((i) => ({
      entryId: `m${i}`,
      contentType: 'application/cloudevents+json',
      metadata: { partitionKey: `k${i}` },
      event: { id: `m${i}`, data: 'xxxxxxxxxx' },
    })),
  );
});

test('an event is sent as its text, so large numbers are not rounded', async () => {
  let sent = '';
  const server = createServer((request, response) => {
    request.on('data', (chunk) => {
      sent += chunk;
    });
    request.on('end', () => response.writeHead(204).end());
  });
  await using stack = new AsyncDisposableStack();
  const port = await listening(server, stack);
  const direct = stack.use(new DaprPublisher({ port }));
  await direct.publishBulk('lamp-internal', [{ entryId: 'a', event: '{"n": 12345678901234567890.50}' }]);
  expect(sent).toContain('"event":{"n": 12345678901234567890.50}');
});

test('entries that daprd names have failed, all others are accepted', async () => {
  daprd().post(PATH).reply(500, responses.brokerDown('m1'));
  const result = await publisher.publishBulk('lamp-internal', entries(3));
  expect(outcome(result)).toEqual({ accepted: ['m0', 'm2'], failed: ['m1'] });
  expect(result.failed.get('m1')).toBe('context deadline exceeded');
  expect(result.outage).toBeUndefined();
});

test('entries are sent in calls of at most a hundred', async () => {
  const sizes: number[] = [];
  daprd()
    .post(PATH, (sent: unknown[]) => sizes.push(sent.length) > 0)
    .times(4)
    .reply(204);
  const result = await publisher.publishBulk('lamp-internal', entries(350));
  expect(result.accepted.size).toBe(350);
  expect(sizes.sort()).toEqual([86, 88, 88, 88]);
});

test('entries are sent in calls of less than daprd’s limit of 4 MiB', async () => {
  const bytes: number[] = [];
  daprd()
    .post(PATH, (sent) => bytes.push(Buffer.byteLength(JSON.stringify(sent))) > 0)
    .times(3)
    .reply(204);
  const result = await publisher.publishBulk('lamp-internal', entries(10, 900_000));
  expect(result.accepted.size).toBe(10);
  expect(Math.max(...bytes)).toBeLessThan(4 * 1024 * 1024);
});

test('an empty batch makes no call', async () => {
  expect(outcome(await publisher.publishBulk('lamp-internal', []))).toEqual({ accepted: [], failed: [] });
});

test.each([
  ['not a CloudEvent', 500, responses.noCloudEvent],
  ['too large for daprd', 400, responses.tooLarge],
  ['too large for a proxy', 413, '<html>'],
  ['the cause of an answer without a body', 500, ''],
])('an entry that is %s is isolated, and the others are published', async (_, status, body) => {
  const hasBadEntry = (sent: BulkEntry[]) => sent.some(({ entryId }) => entryId === 'm37');
  daprd().post(PATH, hasBadEntry).times(20).reply(status, body);
  daprd()
    .post(PATH, (sent) => !hasBadEntry(sent as BulkEntry[]))
    .times(20)
    .reply(204);
  const result = await publisher.publishBulk('lamp-internal', entries(100));
  expect([...result.failed.keys()]).toEqual(['m37']);
  expect(result.accepted.size).toBe(99);
});

test('an entry that is not a JSON object is not sent, since daprd would cut the connection', async () => {
  daprd().post(PATH).reply(204);
  const bad = ['null', '[]', '"x"', '7'].map((event, i) => ({ entryId: `bad${i}`, event }));
  const result = await publisher.publishBulk('lamp-internal', [...bad, ...entries(1)]);
  expect(outcome(result)).toEqual({ accepted: ['m0'], failed: ['bad0', 'bad1', 'bad2', 'bad3'] });
});

describe('The publisher', () => {
  test.each([
    ['a wrong token', 401, 'invalid api token\n', 'DAPR_API_TOKEN'],
    ['a forbidden topic', 403, responses.forbidden, 'publishingScopes'],
    ['an unknown component', 404, responses.unknownComponent, 'no usable pub/sub component lamp-internal'],
    ['an unknown component with another status', 400, responses.unknownComponent, 'no usable pub/sub component'],
  ])('reports a configuration outage for %s', async (_, status, body, advice) => {
    daprd().post(PATH).times(4).reply(status, body);
    const result = await publisher.publishBulk('lamp-internal', entries(1000));
    expect(outcome(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage).toMatchObject({ kind: 'configuration', message: expect.stringContaining(advice) });
  });

  test.each([
    [502, '<html>bad gateway</html>'],
    [429, ''],
    [200, ''],
    [500, 'null'],
  ])('reports an outage on an answer that is not daprd’s: %i %j', async (status, body) => {
    daprd().post(PATH).times(100).reply(status, body);
    const result = await publisher.publishBulk('lamp-internal', entries(200));
    expect(outcome(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage?.kind).toBe('unexpected-answer');
    // It stops at the second message that is refused by itself.
    expect(nock.pendingMocks()).not.toEqual([]);
  });

  test('reports an outage for a single message with an answer that is not daprd’s', async () => {
    daprd().post(PATH).reply(502, '<html>bad gateway</html>');
    const result = await publisher.publishBulk('lamp-internal', entries(1));
    expect(outcome(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage?.kind).toBe('unexpected-answer');
  });

  test('reports an outage when daprd names none of the sent entries', async () => {
    daprd().post(PATH).times(3).reply(503, responses.brokerDown('unknown'));
    const result = await publisher.publishBulk('lamp-internal', entries(2));
    expect(outcome(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage?.kind).toBe('unexpected-answer');
  });

  test('reports an outage when nothing listens on daprd’s port', async () => {
    await using stack = new AsyncDisposableStack();
    const port = await listening(createServer(), stack);
    await stack.disposeAsync();
    await using unreachable = new DaprPublisher({ port });
    const result = await unreachable.publishBulk('lamp-internal', entries(2));
    expect(outcome(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage).toMatchObject({ kind: 'unreachable', message: expect.stringContaining('ECONNREFUSED') });
  });

  test('reports a time-out when daprd does not answer in time', async () => {
    await using stack = new AsyncDisposableStack();
    const port = await listening(
      createServer(() => undefined),
      stack,
    );
    const hurried = stack.use(new DaprPublisher({ port, timeoutMs: 50 }));
    const result = await hurried.publishBulk('lamp-internal', entries(2));
    expect(outcome(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage?.kind).toBe('time-out');
  });

  test('keeps the outcomes known so far when an outage interrupts the halving of a batch', async () => {
    let calls = 0;
    daprd()
      .post(PATH)
      .times(3)
      .reply(() => [[500, responses.noCloudEvent] as const, [204, ''] as const, [401, ''] as const][calls++]!);
    const result = await publisher.publishBulk('lamp-internal', entries(4));
    expect(outcome(result)).toEqual({ accepted: ['m0', 'm1'], failed: [] });
    expect(result.outage?.kind).toBe('configuration');
  });
});

test('an aborted publisher throws the reason and sends nothing more', async () => {
  await using stack = new AsyncDisposableStack();
  const abort = new AbortController();
  const reason = new Error('the lease is lost');
  let calls = 0;
  const port = await listening(
    createServer(() => {
      calls++;
      abort.abort(reason);
    }),
    stack,
  );
  const direct = stack.use(new DaprPublisher({ port }));
  await expect(direct.publishBulk('lamp-internal', entries(2), abort.signal)).rejects.toBe(reason);
  await expect(direct.publishBulk('lamp-internal', entries(2), abort.signal)).rejects.toBe(reason);
  expect(calls).toBe(1);
});

test('the component’s name may differ from the topic’s', async () => {
  daprd().post('/v1.0/publish/bulk/pubsub/lamp-internal').reply(204);
  await using other = new DaprPublisher({ port: 3500, componentOf: () => 'pubsub' });
  expect((await other.publishBulk('lamp-internal', entries(1))).accepted.size).toBe(1);
});

async function listening(server: ReturnType<typeof createServer>, stack: AsyncDisposableStack): Promise<number> {
  stack.defer(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
