import { NAMESPACE } from '../../k8s/cluster.ts';
import type { Shell } from '../../k8s/shell.ts';
import { expectInvariantsIn } from '../e2e/invariants.ts';

/**
 * Waits until the invariants hold in the cluster's databases, queried in the pod of the database.
 * @throws with the rows that violate one
 */
export async function expectInvariants(shell: Shell, namespace = NAMESPACE): Promise<void> {
  await expectInvariantsIn((database, sql) => query({ shell, namespace }, database, sql));
}

/** Returns the attempts spent on messages of the member system. */
export async function countAttempts(shell: Shell, namespace = NAMESPACE): Promise<number> {
  const [row] = await query(
    { shell, namespace },
    'member',
    'select coalesce(sum(attempts), 0)::int as attempts from eventing.delivery',
  );
  return (row as { attempts: number }).attempts;
}

/** Counts the deliveries that repeat a message to the same app. */
export async function countRepeats(shell: Shell, namespace = NAMESPACE): Promise<number> {
  const consumers = (await streams(shell, namespace)).flatMap((it) => it.consumer_detail ?? []);
  return consumers.reduce((sum, { delivered }) => sum + delivered.consumer_seq - delivered.stream_seq, 0);
}

/** Counts the messages of all streams. */
export async function countMessages(shell: Shell, namespace = NAMESPACE): Promise<number> {
  return (await streams(shell, namespace)).reduce((sum, { state }) => sum + state.messages, 0);
}

async function streams(shell: Shell, namespace: string): Promise<readonly Stream[]> {
  const path = `/api/v1/namespaces/${namespace}/pods/nats-0:8222/proxy/jsz?consumers=true`;
  const { account_details: accounts } = JSON.parse(await shell.kubectl('get', '--raw', path)) as Jsz;
  return accounts.flatMap((it) => it.stream_detail ?? []);
}

interface Stream {
  readonly state: { readonly messages: number };
  readonly consumer_detail?: readonly { readonly delivered: { consumer_seq: number; stream_seq: number } }[];
}

interface Jsz {
  readonly account_details: readonly { readonly stream_detail?: readonly Stream[] }[];
}

interface Installation {
  readonly shell: Shell;
  readonly namespace: string;
}

/** Runs SQL as the superuser, in the pod of the database. */
export async function query({ shell, namespace }: Installation, database: string, sql: string): Promise<unknown[]> {
  const rows = `select coalesce(json_agg(violation), '[]') from (${sql}) as violation`;
  const psql = ['psql', '--username', 'postgres', '--no-psqlrc', '--tuples-only', '--no-align', database];
  const answer = await shell.run(['kubectl', '--namespace', namespace, 'exec', '-i', 'postgres-0', '--', ...psql], {
    input: rows,
  });
  return JSON.parse(answer);
}
