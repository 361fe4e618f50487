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
  publisher = new DaprPublisher({ port: 3500, apiToken: 'a-token-of-the-lab' });
});
// It patches Node's own modules, which the test files of a worker share.
afterAll(() => nock.restore());
afterEach(async () => {
  await publisher[Symbol.asyncDispose]();
  nock.cleanAll();
});

/** The answers of daprd 1.18.1, as they were seen. */
const refusals = {
  brokerDown: (...ids: string[]) => ({
    failedEntries: ids.map((entryId) => ({ entryId, error: 'context deadline exceeded' })),
    errorCode: 'ERR_PUBSUB_PUBLISH_MESSAGE',
  }),
  noCloudEvent: { errorCode: 'ERR_PUBSUB_CLOUD_EVENTS_SER', message: 'cannot create cloudevent', details: [] },
  tooLarge: { errorCode: 'ERR_PUBSUB_EVENTS_SER', message: 'error when unmarshaling the request: stream too large' },
  unknownComponent: { errorCode: 'ERR_PUBSUB_NOT_FOUND', message: 'pubsub lamp-internal is not found' },
  forbidden: { errorCode: 'ERR_PUBSUB_FORBIDDEN', message: 'topic lamp-internal is not allowed for app id lamp' },
};

const known = ({ accepted, failed }: BulkResult) => ({
  accepted: [...accepted].sort(),
  failed: [...failed.keys()].sort(),
});

test('entries are sent as CloudEvents in structured form, each with its id and metadata, under the token', async () => {
  let body: unknown;
  daprd()
    .post(PATH, (sent) => {
      body = sent;
      return true;
    })
    .matchHeader('dapr-api-token', 'a-token-of-the-lab')
    .matchHeader('content-type', 'application/json')
    .reply(204);
  const result = await publisher.publishBulk('lamp-internal', entries(2));
  expect(known(result)).toEqual({ accepted: ['m0', 'm1'], failed: [] });
  expect(body).toEqual(
    [0, 1].map((i) => ({
      entryId: `m${i}`,
      contentType: 'application/cloudevents+json',
      metadata: { partitionKey: `k${i}` },
      event: { id: `m${i}`, data: 'xxxxxxxxxx' },
    })),
  );
});

test('an event goes as its text: large numbers stay what they are', async () => {
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

test('those that daprd names failed, all others were accepted', async () => {
  daprd().post(PATH).reply(500, refusals.brokerDown('m1'));
  const result = await publisher.publishBulk('lamp-internal', entries(3));
  expect(known(result)).toEqual({ accepted: ['m0', 'm2'], failed: ['m1'] });
  expect(result.failed.get('m1')).toBe('context deadline exceeded');
  expect(result.outage).toBeUndefined();
});

test('many go in calls of a hundred at most', async () => {
  const sizes: number[] = [];
  daprd()
    .post(PATH, (sent: unknown[]) => sizes.push(sent.length) > 0)
    .times(4)
    .reply(204);
  const result = await publisher.publishBulk('lamp-internal', entries(350));
  expect(result.accepted.size).toBe(350);
  expect(sizes.sort()).toEqual([86, 88, 88, 88]);
});

test('and in calls that fit into daprd’s 4 MiB', async () => {
  const bytes: number[] = [];
  daprd()
    .post(PATH, (sent) => bytes.push(Buffer.byteLength(JSON.stringify(sent))) > 0)
    .times(3)
    .reply(204);
  const result = await publisher.publishBulk('lamp-internal', entries(10, 900_000));
  expect(result.accepted.size).toBe(10);
  expect(Math.max(...bytes)).toBeLessThan(4 * 1024 * 1024);
});

test('nothing to publish asks nobody', async () => {
  expect(known(await publisher.publishBulk('lamp-internal', []))).toEqual({ accepted: [], failed: [] });
});

test.each([
  ['no CloudEvent', 500, refusals.noCloudEvent],
  ['too large for daprd', 400, refusals.tooLarge],
])(
  'of a batch refused whole because one is %s, the others are published and the one is found',
  async (_, status, body) => {
    const guilty = (sent: BulkEntry[]) => sent.some(({ entryId }) => entryId === 'm37');
    daprd().post(PATH, guilty).times(20).reply(status, body);
    daprd()
      .post(PATH, (sent) => !guilty(sent as BulkEntry[]))
      .times(20)
      .reply(204);
    const result = await publisher.publishBulk('lamp-internal', entries(100));
    expect([...result.failed.keys()]).toEqual(['m37']);
    expect(result.accepted.size).toBe(99);
  },
);

test('what is no JSON object is not even sent: daprd would cut the connection', async () => {
  daprd().post(PATH).reply(204);
  const bad = ['null', '[]', '"x"', '7'].map((event, i) => ({ entryId: `bad${i}`, event }));
  const result = await publisher.publishBulk('lamp-internal', [...bad, ...entries(1)]);
  expect(known(result)).toEqual({ accepted: ['m0'], failed: ['bad0', 'bad1', 'bad2', 'bad3'] });
});

describe('An outage is told apart from refused entries, and ends the publishing', () => {
  test.each([
    ['a wrong token', 401, 'invalid api token\n', 'DAPR_API_TOKEN'],
    ['a topic that is forbidden', 403, refusals.forbidden, 'publishingScopes'],
    ['an unknown component', 404, refusals.unknownComponent, 'no usable pub/sub component lamp-internal'],
    ['an unknown component, said with another status', 400, refusals.unknownComponent, 'no usable pub/sub component'],
  ])('%s: somebody must change the configuration', async (_, status, body, advice) => {
    daprd().post(PATH).times(4).reply(status, body);
    const result = await publisher.publishBulk('lamp-internal', entries(1000));
    expect(known(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage).toMatchObject({ kind: 'configuration', message: expect.stringContaining(advice) });
  });

  test.each([
    [502, '<html>bad gateway</html>'],
    [429, ''],
    [200, ''],
    [500, 'null'],
  ])('an answer that daprd does not give (%i)', async (status, body) => {
    daprd().post(PATH).reply(status, body);
    const result = await publisher.publishBulk('lamp-internal', entries(2));
    expect(known(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage?.kind).toBe('unexpected-answer');
  });

  test('a failure that names none of ours', async () => {
    daprd().post(PATH).reply(503, refusals.brokerDown('somebody'));
    const result = await publisher.publishBulk('lamp-internal', entries(2));
    expect(known(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage?.kind).toBe('unexpected-answer');
  });

  test('nobody listens', async () => {
    await using stack = new AsyncDisposableStack();
    const port = await listening(createServer(), stack);
    await stack.disposeAsync();
    await using nobody = new DaprPublisher({ port });
    const result = await nobody.publishBulk('lamp-internal', entries(2));
    expect(known(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage).toMatchObject({ kind: 'unreachable', message: expect.stringContaining('ECONNREFUSED') });
  });

  test('no answer in time: the outcome is unknown', async () => {
    await using stack = new AsyncDisposableStack();
    const port = await listening(
      createServer(() => undefined),
      stack,
    );
    const impatient = stack.use(new DaprPublisher({ port, timeoutMs: 50 }));
    const result = await impatient.publishBulk('lamp-internal', entries(2));
    expect(known(result)).toEqual({ accepted: [], failed: [] });
    expect(result.outage?.kind).toBe('time-out');
  });

  test('in the middle of the halving, what is known stays known', async () => {
    let calls = 0;
    daprd()
      .post(PATH)
      .times(3)
      .reply(() => [[500, refusals.noCloudEvent] as const, [204, ''] as const, [502, ''] as const][calls++]!);
    const result = await publisher.publishBulk('lamp-internal', entries(4));
    expect(known(result)).toEqual({ accepted: ['m0', 'm1'], failed: [] });
    expect(result.outage?.kind).toBe('unexpected-answer');
  });
});

test('once aborted, it throws the reason and sends nothing more', async () => {
  await using stack = new AsyncDisposableStack();
  const abort = new AbortController();
  const gone = new Error('the lease is lost');
  let calls = 0;
  const port = await listening(
    createServer(() => {
      calls++;
      abort.abort(gone);
    }),
    stack,
  );
  const direct = stack.use(new DaprPublisher({ port }));
  await expect(direct.publishBulk('lamp-internal', entries(2), abort.signal)).rejects.toBe(gone);
  await expect(direct.publishBulk('lamp-internal', entries(2), abort.signal)).rejects.toBe(gone);
  expect(calls).toBe(1);
});

test('the component need not be named like the topic', async () => {
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
