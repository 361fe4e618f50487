import type { EntityManager } from '@mikro-orm/postgresql';
import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { type Extra, NOTE } from './lamps.ts';
import { loadPeer } from './peer-packages.ts';

export const OUTBOX = {
  outboxOrInbox: 'outbox',
  database: 'bench',
  schema: 'pgto',
  table: 'outbox',
  listenerRole: 'bench_owner',
  publication: 'pgto',
  replicationSlot: 'pgto',
  nextMessagesName: 'next_messages',
} as const;

export const QUEUE = 'changed';

export interface PeerDatabase {
  readonly database: Client;
  readonly ownerUrl: string;
  readonly superuserUrl: string;
}

/** Creates the tables of the other products. The role of the application gets the owner's rights, for their row policies. */
export async function setUpPeers({ database, ownerUrl, superuserUrl }: PeerDatabase): Promise<void> {
  const superuser = new Client(superuserUrl);
  await superuser.connect();
  await superuser.query('grant bench_owner to bench_app');
  await superuser.end();
  const { DatabaseSetup } = loadPeer('pg-transactional-outbox');
  for (const sql of [
    DatabaseSetup.dropAndCreateTable(OUTBOX),
    DatabaseSetup.createPollingFunction(OUTBOX),
    DatabaseSetup.setupPollingIndexes(OUTBOX),
  ])
    await database.query(sql);
  await loadPeer('graphile-worker').runMigrations({ connectionString: ownerUrl });
  const boss = await openBoss(ownerUrl);
  await boss.createQueue(QUEUE);
  await boss.stop({ graceful: false });
}

/** Creates the publication, and a slot without the messages before it. */
export async function setUpReplication({ superuserUrl }: Pick<PeerDatabase, 'superuserUrl'>): Promise<void> {
  const { DatabaseSetup } = loadPeer('pg-transactional-outbox');
  const superuser = new Client(superuserUrl);
  await superuser.connect();
  await superuser.query('truncate pgto.outbox');
  await superuser.query(DatabaseSetup.setupReplicationCore(OUTBOX));
  await superuser.query(
    'select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1 and not active',
    [OUTBOX.replicationSlot],
  );
  await superuser.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [OUTBOX.replicationSlot]);
  await superuser.end();
}

/** Opens pg-boss without its maintenance, which is for days, not for minutes. */
// biome-ignore lint/suspicious/noExplicitAny: the package has no types here
export async function openBoss(connectionString: string): Promise<any> {
  const { PgBoss } = loadPeer('pg-boss');
  const boss = new PgBoss({ connectionString, supervise: false, schedule: false, max: 8 });
  boss.on('error', (error: Error) => process.stderr.write(`pg-boss: ${error.message}\n`));
  return await boss.start();
}

/** Ways of enqueueing a message of 1 KB with other products, in the transaction that changes the entity. */
export function peerExtras(boss: { send: (...args: unknown[]) => Promise<unknown> }): Record<string, Extra> {
  const { initializeMessageStorage, getDisabledLogger } = loadPeer('pg-transactional-outbox');
  const settings = { dbSchema: OUTBOX.schema, dbTable: OUTBOX.table };
  const store = initializeMessageStorage({ outboxOrInbox: 'outbox', settings }, getDisabledLogger());
  // One event per aggregate in the bench, so the aggregate's id identifies the event.
  const payload = (eventid: string) => ({ eventid, note: NOTE, more: NOTE });
  return {
    'pg-transactional-outbox': (em, { id }) => {
      const message = { id: uuid(), aggregateType: 'lamp', aggregateId: id, messageType: 'changed', segment: id };
      return store({ ...message, payload: payload(id) }, { query: inTransaction(em) });
    },
    'graphile-worker (no broker)': (em, { id }) =>
      inTransaction(em)('select graphile_worker.add_job($1, $2::json)', [QUEUE, JSON.stringify(payload(id))]),
    'pg-boss (no broker)': (em, { id }) => boss.send(QUEUE, payload(id), { db: { executeSql: inTransaction(em) } }),
  };
}

/** Returns a function that runs statements on the connection of MikroORM's transaction, as these products do on one of pg. */
function inTransaction(em: EntityManager) {
  return async (sql: string, parameters: unknown[] = []): Promise<{ rows: unknown[]; rowCount: number }> => {
    // biome-ignore lint/suspicious/noExplicitAny: Kysely's transaction
    const transaction = em.getTransactionContext() as any;
    const query = { sql, parameters, query: { kind: 'RawNode' }, queryId: { queryId: 'peer' } };
    const { rows } = await transaction.executeQuery(query);
    return { rows, rowCount: rows.length };
  };
}
