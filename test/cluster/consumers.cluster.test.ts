import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

const helm = (...args: string[]) => cluster.shell.run(['helm', ...args, '--namespace', NAMESPACE]);
const subscribers = ['workers', 'family-account'];

/** Checks that a canary passes all hops, each with another sidecar. */
const expectCanaryPasses = async () =>
  expect(await helm('test', 'family-account', '--logs')).toContain('All hops of family-account and member passed');

/** Returns the settings of JetStream's durable consumers, by name. Others belong to commands and are temporary. */
async function settings(): Promise<object[]> {
  const path = `/api/v1/namespaces/${NAMESPACE}/pods/nats-0:8222/proxy/jsz?consumers=true&config=true`;
  const { account_details } = JSON.parse(await cluster.shell.kubectl('get', '--raw', path)) as Jsz;
  return account_details
    .flatMap((it) => it.stream_detail)
    .flatMap((it) => it.consumer_detail ?? [])
    .flatMap(({ config: { durable_name, ack_wait, max_ack_pending } }) =>
      durable_name ? [{ name: durable_name, seconds: ack_wait / 1e9, at_once: max_ack_pending }] : [],
    )
    .sort((a, b) => a.name.localeCompare(b.name));
}
interface Jsz {
  readonly account_details: readonly {
    readonly stream_detail: readonly {
      readonly consumer_detail?: readonly {
        readonly config: { durable_name?: string; ack_wait: number; max_ack_pending: number };
      }[];
    }[];
  }[];
}

test('a release with other consumer settings receives all events, and so does its rollback', async () => {
  await using back = new AsyncDisposableStack();
  back.defer(async () => {
    await Promise.all(subscribers.map((chart) => installChart(cluster.shell, chart)));
  });
  const before = await settings();
  expect(before).toHaveLength(9);
  const other = ['--set', 'broker.deliverySeconds=20', '--set', 'broker.jetstream.maxAckPending=8'];
  await Promise.all(subscribers.map((chart) => installChart(cluster.shell, chart, ...other)));
  expect(await settings()).toEqual(before.map((it) => ({ ...it, seconds: 20, at_once: 8 })));
  await expectCanaryPasses();
  await Promise.all(subscribers.map((chart) => helm('rollback', chart, '--wait')));
  expect(await settings()).toEqual(before);
  await expectCanaryPasses();
}, 300_000);
