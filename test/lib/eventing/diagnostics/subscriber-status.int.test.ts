import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { findSubscribers, SidecarStatusReporter } from '#eventing/subscriber-status';
import { freePort } from '../../../../local/topology/ports.ts';
import { eventually } from '../../../support/eventually.ts';
import { type Fixture, openFixture } from '../fixture.ts';

let fixture: Fixture;
beforeEach(async () => {
  fixture = await openFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

/** Metadata of daprd 1.18.1, with more fields than are read. */
const METADATA = {
  id: 'porch',
  runtimeVersion: '1.18.1',
  enabledFeatures: ['SchedulerReminders'],
  components: [{ name: 'porch-lamp-internal', type: 'pubsub.jetstream', version: 'v1', capabilities: [] }],
  subscriptions: [
    {
      pubsubname: 'porch-lamp-internal',
      topic: 'lamp-internal',
      rules: [{ path: '/events/lamp-internal' }],
      deadLetterTopic: '',
      type: 'DECLARATIVE',
    },
  ],
  extended: { daprRuntimeVersion: '1.18.1' },
};

/** Starts a fake daprd that serves its metadata. @param status `none` closes the connection without an answer */
async function startFakeDaprd(metadata: () => object = () => METADATA, status: number | 'none' = 200, onPort = 0) {
  let requests = 0;
  const server = createServer(({ url, headers }, response) => {
    requests += 1;
    if (status === 'none') return response.destroy();
    if (headers['dapr-api-token'] !== 'token') return response.writeHead(401).end('invalid api token');
    if (url !== '/v1.0/metadata') return response.writeHead(404).end();
    return response.writeHead(status).end(JSON.stringify(metadata()));
  }).listen(onPort, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    requests: () => requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const reporter = (port: number, apiToken = 'token') =>
  new SidecarStatusReporter({ orm: fixture.orm, appId: 'porch', port, apiToken, everyMs: 50 });
const subscribers = () => findSubscribers(fixture.orm.em.fork());

test('a sidecar’s metadata is reported while its app runs and removed when the app ends', async () => {
  await using sidecar = await startFakeDaprd();
  {
    await using _ = reporter(sidecar.port).start();
    await eventually(async () =>
      expect(await subscribers()).toEqual([
        {
          appId: 'porch',
          topics: [],
          sidecars: [
            {
              replica: `${hostname()}:${sidecar.port}`,
              reportedAt: expect.stringMatching(/^\d{4}-.*Z$/),
              runtimeVersion: '1.18.1',
              components: [{ name: 'porch-lamp-internal', type: 'pubsub.jetstream' }],
              subscriptions: [{ component: 'porch-lamp-internal', topic: 'lamp-internal' }],
            },
          ],
        },
      ]),
    );
  }
  expect(await subscribers()).toEqual([]);
});

test('subscriptions that a sidecar loads later appear in the next report', async () => {
  let metadata: object = { ...METADATA, subscriptions: null };
  await using sidecar = await startFakeDaprd(() => metadata);
  await using _ = reporter(sidecar.port).start();
  const subscriptions = async () => (await subscribers())[0]?.sidecars[0]?.subscriptions;
  await eventually(async () => expect(await subscriptions()).toEqual([]));
  metadata = METADATA;
  await eventually(async () => expect(await subscriptions()).toHaveLength(1));
});

test.each([
  ['rejects the token', () => startFakeDaprd(), 'another-token'],
  ['answers with an error', () => startFakeDaprd(() => ({ errorCode: 'ERR' }), 500), 'token'],
  ['closes the connection', () => startFakeDaprd(() => METADATA, 'none'), 'token'],
])('a sidecar that %s is queried again and not reported meanwhile', async (_, start, token) => {
  await using sidecar = await start();
  await using _reporter = reporter(sidecar.port, token).start();
  await eventually(() => sidecar.requests() > 1);
  expect(await subscribers()).toEqual([]);
});

test('a sidecar that has not started yet is queried until it answers', async () => {
  const port = await freePort();
  await using _ = reporter(port).start();
  expect(await subscribers()).toEqual([]);
  await using _sidecar = await startFakeDaprd(() => METADATA, 200, port);
  await eventually(async () => expect(await subscribers()).toMatchObject([{ appId: 'porch', sidecars: [{}] }]));
});

test('the report of a killed pod is deleted after ten minutes', async () => {
  await fixture.database.sql(
    `insert into eventing.sidecar values ('porch', 'killed:3500', '{}', now() - interval '11 minutes'),
       ('porch', 'lately:3500', '{}', now() - interval '9 minutes')`,
  );
  await using sidecar = await startFakeDaprd();
  await using _ = reporter(sidecar.port).start();
  await eventually(async () => {
    const rows = await fixture.database.sql<{ replica: string }>('select replica from eventing.sidecar order by 1');
    expect(rows.map(({ replica }) => replica.split(':')[0])).toEqual(expect.arrayContaining(['lately', hostname()]));
    expect(rows).toHaveLength(2);
  });
});

test('each app’s topics are listed with their last delivery and the start of a stall', async () => {
  await fixture.database.sql(
    `insert into eventing.heard (app_id, topic, heard_at, missed_since) values
       ('porch', 'lamp-internal', '2030-01-01T00:00:00.5Z', null), ('porch', 'lamp-external', '2030-01-01Z', '2030-01-02Z'),
       ('attic', 'lamp-internal', '2030-01-01Z', null)`,
  );
  const lastReceivedAt = '2030-01-01T00:00:00.000Z';
  expect(await subscribers()).toEqual([
    {
      appId: 'attic',
      topics: [{ topic: 'lamp-internal', lastReceivedAt, stalledSince: null, pendingSince: null }],
      sidecars: [],
    },
    {
      appId: 'porch',
      topics: [
        { topic: 'lamp-external', lastReceivedAt, stalledSince: '2030-01-02T00:00:00.000Z', pendingSince: null },
        { topic: 'lamp-internal', lastReceivedAt: '2030-01-01T00:00:00.500Z', stalledSince: null, pendingSince: null },
      ],
      sidecars: [],
    },
  ]);
});

test('each app’s topics are listed with the time since which a delivery is pending', async () => {
  await fixture.database.sql(
    `insert into eventing.heard (app_id, topic, heard_at) values ('porch', 'lamp-internal', '2030-01-01T00:00:10Z'), ('porch', 'lamp-external', '2030-01-01T00:00:10Z')`,
  );
  const pendingSeconds = async () =>
    (await subscribers())[0]!.topics.map(({ pendingSince }) => pendingSince?.slice(17, 19) ?? null);
  const relayed = (id: number, second: string) =>
    fixture.database.sql(
      `insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, relayed_at, resend_at)
       values ('00000000-0000-7000-8000-00000000000${id}', gen_random_uuid(), 'internal', 'lamp-internal', 'a', 0, '*', '{}', 1, now(), '2030-01-01T00:00:${second}Z', now())`,
    );
  const published = (id: number, sentAt: string, publishedAt: string) =>
    fixture.database.sql(
      `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
       values ('00000000-0000-7000-8000-00000000000${id}', gen_random_uuid(), 'internal', 'lamp-internal', '*', 1, now(), '2030-01-01T00:00:${sentAt}Z', '2030-01-01T00:00:${publishedAt}Z')`,
    );
  await relayed(1, '10.9');
  // Confirmed, and received, before it was marked as sent.
  await published(2, '10.9', '10.1');
  expect(await pendingSeconds()).toEqual([null, null]);
  await published(3, '20', '21');
  await published(4, '22', '23');
  expect(await pendingSeconds()).toEqual([null, '20']);
  await relayed(5, '15');
  expect(await pendingSeconds()).toEqual([null, '15']);
  // Only the newest messages are read, however many older ones there are.
  await fixture.database.sql(
    `insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, relayed_at, resend_at)
     select ('00000000-0000-6000-8000-' || lpad(n::text, 12, '0'))::uuid, gen_random_uuid(), 'internal', 'lamp-internal', 'a', 0, '*', '{}', 1, now(), '2030-01-01T00:00:05Z', now()
       from generate_series(1, 250) n`,
  );
  expect(await pendingSeconds()).toEqual([null, '15']);
});
