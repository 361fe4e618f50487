import { setTimeout as delay } from 'node:timers/promises';
import { type EventSubscriber, NullCacheAdapter } from '@mikro-orm/core';
import { Migrator } from '@mikro-orm/migrations';
import { type MigrationObject, MikroORM, type Options } from '@mikro-orm/postgresql';
import { Client, type ClientBase, type Pool } from 'pg';
import { EventingEntityManager } from '#eventing/entity-manager';
import { closeDeadConnections } from './dead-connections.ts';
import { refuseLostCommits } from './lost-commits.ts';
import { correctSession, setSession } from './session-settings.ts';

export interface ConnectOptions {
  readonly url: string;
  readonly entities?: Options['entities'];
  readonly subscribers?: EventSubscriber[];
  readonly pool?: { readonly min?: number; readonly max?: number };
  /** The `application_name` that PostgreSQL shows for each connection (default `member-system`). */
  readonly name?: string;
  readonly log?: { warn(message: string): void };
}

/**
 * Opens a connection pool and checks that the database answers and that the session settings are correct.
 * @throws when the database does not answer, or a session setting is wrong and cannot be corrected
 */
export async function connect(options: ConnectOptions): Promise<MikroORM> {
  const orm = await open(options);
  try {
    await orm.em.getConnection().execute('select 1');
    return orm;
  } catch (error) {
    await orm.close(true);
    throw error;
  }
}

/** Average age at which a connection is replaced, in seconds. Limits how long an undetected defect of it can last. */
const LIFETIME_SECONDS = 600;

function open({
  url,
  entities = [],
  subscribers = [],
  pool = {},
  name = 'member-system',
  log,
}: ConnectOptions): Promise<MikroORM> {
  return MikroORM.init({
    clientUrl: url,
    entities,
    subscribers,
    entityManager: EventingEntityManager,
    discovery: { warnWhenNoEntities: false },
    metadataCache: { enabled: false, adapter: NullCacheAdapter },
    ensureDatabase: false,
    // With batch updates, flushing two changed versioned entities silently overwrites a change committed in between.
    useBatchUpdates: false,
    pool: { min: pool.min ?? 0, max: pool.max ?? 10 },
    driverOptions: {
      // pg parses the URL itself, so that parameters such as sslmode take effect.
      connectionString: url,
      application_name: name,
      // Limits the wait for a free connection and for a new one: a 503 is better than a growing queue.
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
      // Shorter than the idle timeouts of firewalls and load balancers on the path, which are minutes.
      keepAliveInitialDelayMillis: 30_000,
      // Randomised, so that processes started at the same time do not reconnect at the same time.
      maxLifetimeSeconds: LIFETIME_SECONDS * (0.8 + 0.4 * Math.random()),
      onConnect: correctSession,
      onPoolCreated: (created: Pool) => {
        closeDeadConnections(created);
        refuseLostCommits(created);
      },
    },
    logger: (message) => (log ? log.warn(message) : undefined),
    colors: false,
  });
}

export interface MigrateOptions {
  /** Connects as the role that owns the database. */
  readonly url: string;
  /** In the order of application. The name of a migration that has been applied anywhere must never change. */
  readonly migrations: readonly MigrationObject[];
  /** Table that records the applied migrations, with its schema unless that is `public` (default `migration`). */
  readonly table?: string;
  readonly print?: (line: string) => void;
}

/** Arbitrary number. Every migration run in a database takes this advisory lock. */
const LOCK = 727_001;

/**
 * Applies the pending migrations, each in its own transaction. Of several concurrent runs, one works and the others
 * wait.
 * @throws when another run holds the lock for more than 60 s, or a migration fails
 */
export async function migrate({
  url,
  migrations,
  table = 'migration',
  print = console.log,
}: MigrateOptions): Promise<void> {
  const lockHolder = new Client({
    connectionString: url,
    application_name: 'migrate',
    lock_timeout: 60_000,
    keepAlive: true,
  });
  await lockHolder.connect();
  try {
    await acquire(lockHolder);
    await applyPending({ url, migrations, table, print });
  } finally {
    // Ending the session releases the lock.
    await lockHolder.end();
  }
}

/**
 * Polls, because a statement that waits holds a snapshot, for which another run's `create index concurrently` would wait.
 */
async function acquire(lockHolder: Client): Promise<void> {
  for (const deadline = performance.now() + 60_000; ; await delay(200)) {
    const { rows } = await lockHolder.query<{ isOurs: boolean }>('select pg_try_advisory_lock($1) as "isOurs"', [LOCK]);
    if (rows[0]!.isOurs) return;
    if (performance.now() > deadline) throw new Error('Another run of the migrations has not ended within 60 s');
  }
}

async function applyPending({ url, migrations, table, print }: Required<MigrateOptions>): Promise<void> {
  const orm = await MikroORM.init({
    clientUrl: url,
    entities: [],
    discovery: { warnWhenNoEntities: false },
    metadataCache: { enabled: false, adapter: NullCacheAdapter },
    ensureDatabase: false,
    extensions: [Migrator],
    migrations: {
      migrationsList: [...migrations],
      tableName: table,
      snapshot: false,
      silent: true,
      transactional: true,
      allOrNothing: false,
      // Disabling foreign keys needs a superuser.
      disableForeignKeys: false,
    },
    pool: { min: 0, max: 1 },
    // A migration that waits for a table lock blocks all queries behind it: better to fail and be run again.
    driverOptions: {
      connectionString: url,
      application_name: 'migrate',
      lock_timeout: 10_000,
      connectionTimeoutMillis: 5_000,
      onConnect: (client: ClientBase) => client.query(setSession),
    },
  });
  try {
    const migrator = orm.migrator as Migrator;
    migrator.on('migrated', ({ name }) => print(`applied ${name}`));
    const applied = await migrator.up();
    if (applied.length === 0) print('nothing to apply');
  } finally {
    await orm.close(true);
  }
}
