import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { findSubscribers, SidecarReports } from '#eventing/subscribers';
import { freePort } from '../../../local/ports.ts';
import { eventually } from '../../support/eventually.ts';
import { type Lab, openLab } from './lab.ts';

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(() => lab[Symbol.asyncDispose]());

/** What daprd 1.18.1 says of itself; more than is read. */
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

/** Stands in for daprd where it says what it has loaded; with status `none` it hangs up instead of answering. */
async function daprd(said: () => object = () => METADATA, status: number | 'none' = 200, at = 0) {
  let asked = 0;
  const server = createServer(({ url, headers }, response) => {
    asked += 1;
    if (status === 'none') return response.destroy();
    if (headers['dapr-api-token'] !== 'token') return response.writeHead(401).end('invalid api token');
    if (url !== '/v1.0/metadata') return response.writeHead(404).end();
    return response.writeHead(status).end(JSON.stringify(said()));
  }).listen(at, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const reports = (port: number, apiToken = 'token') =>
  new SidecarReports({ orm: lab.orm, appId: 'porch', port, apiToken, everyMs: 50 });
const subscribers = () => findSubscribers(lab.orm.em.fork());

test('what a sidecar has loaded is told while its app runs, and taken back when that ends', async () => {
  await using sidecar = await daprd();
  {
    await using _ = reports(sidecar.port).start();
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

test('what it loads later is told with the next report', async () => {
  let said: object = { ...METADATA, subscriptions: null };
  await using sidecar = await daprd(() => said);
  await using _ = reports(sidecar.port).start();
  const heard = async () => (await subscribers())[0]?.sidecars[0]?.subscriptions;
  await eventually(async () => expect(await heard()).toEqual([]));
  said = METADATA;
  await eventually(async () => expect(await heard()).toHaveLength(1));
});

test.each([
  ['does not know us', () => daprd(), 'another-token'],
  ['cannot say it', () => daprd(() => ({ errorCode: 'ERR' }), 500), 'token'],
  ['hangs up', () => daprd(() => METADATA, 'none'), 'token'],
])('a sidecar that %s is asked again, and nothing is made up meanwhile', async (_, start, token) => {
  await using sidecar = await start();
  await using _reports = reports(sidecar.port, token).start();
  await eventually(() => sidecar.asked() > 1);
  expect(await subscribers()).toEqual([]);
});

test('a sidecar that is not there yet is asked until it is', async () => {
  const port = await freePort();
  await using _ = reports(port).start();
  expect(await subscribers()).toEqual([]);
  await using _sidecar = await daprd(() => METADATA, 200, port);
  await eventually(async () => expect(await subscribers()).toMatchObject([{ appId: 'porch', sidecars: [{}] }]));
});

test('the report of a pod that was killed is forgotten after a while', async () => {
  await lab.database.sql(
    `insert into eventing.sidecar values ('porch', 'killed:3500', '{}', now() - interval '11 minutes'),
       ('porch', 'lately:3500', '{}', now() - interval '9 minutes')`,
  );
  await using sidecar = await daprd();
  await using _ = reports(sidecar.port).start();
  await eventually(async () => {
    const rows = await lab.database.sql<{ replica: string }>('select replica from eventing.sidecar order by 1');
    expect(rows.map(({ replica }) => replica.split(':')[0])).toEqual(expect.arrayContaining(['lately', hostname()]));
    expect(rows).toHaveLength(2);
  });
});

test('each app tells what it hears, since when, and since when it misses something', async () => {
  await lab.database.sql(
    `insert into eventing.heard (app_id, topic, heard_at, missed_since) values
       ('porch', 'lamp-internal', '2030-01-01T00:00:00.5Z', null), ('porch', 'lamp-external', '2030-01-01Z', '2030-01-02Z'),
       ('attic', 'lamp-internal', '2030-01-01Z', null)`,
  );
  const heardAt = '2030-01-01T00:00:00.000Z';
  expect(await subscribers()).toEqual([
    {
      appId: 'attic',
      topics: [{ topic: 'lamp-internal', heardAt, missedSince: null, unheardSince: null }],
      sidecars: [],
    },
    {
      appId: 'porch',
      topics: [
        { topic: 'lamp-external', heardAt, missedSince: '2030-01-02T00:00:00.000Z', unheardSince: null },
        { topic: 'lamp-internal', heardAt: '2030-01-01T00:00:00.500Z', missedSince: null, unheardSince: null },
      ],
      sidecars: [],
    },
  ]);
});

test('each app tells since when something that was published may be on its way to it', async () => {
  await lab.database.sql(
    `insert into eventing.heard (app_id, topic, heard_at) values ('porch', 'lamp-internal', '2030-01-01T00:00:10Z'), ('porch', 'lamp-external', '2030-01-01T00:00:10Z')`,
  );
  const unheard = async () =>
    (await subscribers())[0]!.topics.map(({ unheardSince }) => unheardSince?.slice(17, 19) ?? null);
  const relayed = (id: number, second: string) =>
    lab.database.sql(
      `insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, relayed_at, resend_at)
       values ('00000000-0000-7000-8000-00000000000${id}', gen_random_uuid(), 'internal', 'lamp-internal', 'a', 0, '*', '{}', 1, now(), '2030-01-01T00:00:${second}Z', now())`,
    );
  const published = (id: number, relayedAt: string, publishedAt: string) =>
    lab.database.sql(
      `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
       values ('00000000-0000-7000-8000-00000000000${id}', gen_random_uuid(), 'internal', 'lamp-internal', '*', 1, now(), '2030-01-01T00:00:${relayedAt}Z', '2030-01-01T00:00:${publishedAt}Z')`,
    );
  await relayed(1, '10.9');
  // Back, and heard, before it was noted as sent.
  await published(2, '10.9', '10.1');
  expect(await unheard()).toEqual([null, null]);
  await published(3, '20', '21');
  await published(4, '22', '23');
  expect(await unheard()).toEqual([null, '20']);
  await relayed(5, '15');
  expect(await unheard()).toEqual([null, '15']);
  // The newest are looked at, however many older ones there are.
  await lab.database.sql(
    `insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, relayed_at, resend_at)
     select ('00000000-0000-6000-8000-' || lpad(n::text, 12, '0'))::uuid, gen_random_uuid(), 'internal', 'lamp-internal', 'a', 0, '*', '{}', 1, now(), '2030-01-01T00:00:05Z', now()
       from generate_series(1, 250) n`,
  );
  expect(await unheard()).toEqual([null, '15']);
});
