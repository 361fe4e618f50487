import { NAMESPACE } from '../../k8s/cluster.ts';
import type { Shell } from '../../k8s/shell.ts';
import { expectInvariantsIn } from '../e2e/invariants.ts';

/**
 * Waits until the invariants hold in the cluster's databases, queried in the pod of the database.
 * @throws with the rows that violate one
 */
export async function expectInvariants(shell: Shell): Promise<void> {
  await expectInvariantsIn((database, sql) => query(shell, database, sql));
}

/** Returns the attempts spent on messages of the member system. */
export async function countAttempts(shell: Shell): Promise<number> {
  const [row] = await query(
    shell,
    'member',
    'select coalesce(sum(attempts), 0)::int as attempts from eventing.delivery',
  );
  return (row as { attempts: number }).attempts;
}

/** Counts the deliveries that repeat a message to the same app. */
export async function countRepeats(shell: Shell): Promise<number> {
  const path = `/api/v1/namespaces/${NAMESPACE}/pods/nats-0:8222/proxy/jsz?consumers=true`;
  const { account_details: accounts } = JSON.parse(await shell.kubectl('get', '--raw', path)) as Jsz;
  const consumers = accounts.flatMap((it) => it.stream_detail).flatMap((it) => it.consumer_detail ?? []);
  return consumers.reduce((sum, { delivered }) => sum + delivered.consumer_seq - delivered.stream_seq, 0);
}

interface Jsz {
  readonly account_details: readonly {
    readonly stream_detail: readonly {
      readonly consumer_detail?: readonly { readonly delivered: { consumer_seq: number; stream_seq: number } }[];
    }[];
  }[];
}

async function query(shell: Shell, database: string, sql: string): Promise<unknown[]> {
  const rows = `select coalesce(json_agg(violation), '[]') from (${sql}) as violation`;
  const psql = ['psql', '--username', 'postgres', '--no-psqlrc', '--tuples-only', '--no-align', database];
  const answer = await shell.run(['kubectl', '--namespace', NAMESPACE, 'exec', '-i', 'postgres-0', '--', ...psql], {
    input: rows,
  });
  return JSON.parse(answer);
}
