import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

const helm = (...args: string[]) => cluster.shell.run(['helm', ...args, '--namespace', NAMESPACE]);
const subscribers = ['workers', 'family-account'];

/** A fact goes through all hops, each of which another sidecar hears. */
const proven = async () =>
  expect(await helm('test', 'family-account', '--logs')).toContain('All hops of family-account and member are well');

/** What JetStream has of them, by name; of durables alone, since a command's own consumer is there for a moment. */
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

test('a release that asks the broker for something else hears what the one before it heard, and back again', async () => {
  await using back = new AsyncDisposableStack();
  back.defer(async () => {
    await Promise.all(subscribers.map((chart) => installChart(cluster.shell, chart)));
  });
  const before = await settings();
  expect(before).toHaveLength(9);
  const other = ['--set', 'broker.deliverySeconds=20', '--set', 'broker.jetstream.maxAckPending=8'];
  await Promise.all(subscribers.map((chart) => installChart(cluster.shell, chart, ...other)));
  expect(await settings()).toEqual(before.map((it) => ({ ...it, seconds: 20, at_once: 8 })));
  await proven();
  await Promise.all(subscribers.map((chart) => helm('rollback', chart, '--wait')));
  expect(await settings()).toEqual(before);
  await proven();
}, 300_000);
