import { type EventSubscriber, NullCacheAdapter } from '@mikro-orm/core';
import { Migrator } from '@mikro-orm/migrations';
import { type MigrationObject, MikroORM, type Options } from '@mikro-orm/postgresql';
import { Client } from 'pg';
import { releaseDeadConnections } from './dead-connections.ts';
import { timeOuts } from './time-outs.ts';

export interface ConnectOptions {
  readonly url: string;
  readonly entities?: Options['entities'];
  readonly subscribers?: EventSubscriber[];
  readonly pool?: { readonly min?: number; readonly max?: number };
  /** Shown by PostgreSQL beside each of our connections. */
  readonly name?: string;
  readonly log?: { warn(message: string): void };
}

/** Whether the role, or whoever else looks after the server, has set both time-outs. */
const IS_BOUND = `select ${Object.keys(timeOuts)
  .map((name) => `current_setting('${name}') <> '0'`)
  .join(' and ')} as "isBound"`;

/**
 * Connects, and makes sure that the database answers, and that it ends what takes too long.
 * @throws when it does not answer
 */
export async function connect(options: ConnectOptions): Promise<MikroORM> {
  const orm = await open(options);
  const [row] = await orFree(orm, () => orm.em.getConnection().execute<{ isBound: boolean }[]>(IS_BOUND));
  if (row?.isBound) return orm;
  // A role from before it had these settings: they are sent along, which does but through a pooler.
  await orm.close(true);
  const bound = await open(options, timeOuts);
  await orFree(bound, () => bound.em.getConnection().execute('select 1')).catch((error: { code?: string }) => {
    if (error.code !== PROTOCOL_VIOLATION) throw error;
    const message =
      'A pooler takes no time-outs with a connection, and the role has none of its own: run services/databases again';
    throw new Error(message, { cause: error });
  });
  return bound;
}

/** What PgBouncer answers to a setting that it does not know. */
const PROTOCOL_VIOLATION = '08P01';

async function orFree<T>(orm: MikroORM, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await orm.close(true);
    throw error;
  }
}

function open(
  { url, entities = [], subscribers = [], pool = {}, name = 'member-system', log }: ConnectOptions,
  settings: Partial<typeof timeOuts> = {},
): Promise<MikroORM> {
  return MikroORM.init({
    clientUrl: url,
    entities,
    subscribers,
    discovery: { warnWhenNoEntities: false },
    metadataCache: { enabled: false, adapter: NullCacheAdapter },
    ensureDatabase: false,
    // With them, flushing two changed versioned entities overwrites a change committed in between, without an error.
    useBatchUpdates: false,
    pool: { min: pool.min ?? 0, max: pool.max ?? 10 },
    driverOptions: {
      // pg reads the URL itself, so that sslmode and the like count.
      connectionString: url,
      application_name: name,
      ...settings,
      // For a free connection of the pool and for a new one: better a 503 than a queue that grows.
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
      onPoolCreated: releaseDeadConnections,
    },
    logger: (message) => (log ? log.warn(message) : undefined),
    colors: false,
  });
}

export interface MigrateOptions {
  /** Of the owner's role. */
  readonly url: string;
  /** In the order in which they are applied. A name, once applied somewhere, never changes. */
  readonly migrations: readonly MigrationObject[];
  /** Where it is noted what was applied, with its schema when that is not `public`. */
  readonly table?: string;
  readonly print?: (line: string) => void;
}

/** Any number: all migrations of a database, whoever runs them, take the same lock. */
const LOCK = 727_001;

/**
 * Applies what is missing, each migration in a transaction of its own. Of several at once, one works and the others wait.
 */
export async function migrate({
  url,
  migrations,
  table = 'migration',
  print = console.log,
}: MigrateOptions): Promise<void> {
  const guard = new Client({
    connectionString: url,
    application_name: 'migrate',
    lock_timeout: 60_000,
    keepAlive: true,
  });
  await guard.connect();
  try {
    await guard.query('select pg_advisory_lock($1)', [LOCK]);
    await applyMissing({ url, migrations, table, print });
  } finally {
    // Ends the session, and with it the lock.
    await guard.end();
  }
}

async function applyMissing({ url, migrations, table, print }: Required<MigrateOptions>): Promise<void> {
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
      // Turning them off needs a superuser.
      disableForeignKeys: false,
    },
    pool: { min: 0, max: 1 },
    // A migration that waits for a lock makes everybody behind it wait as well: better to fail and be run again.
    driverOptions: {
      connectionString: url,
      application_name: 'migrate',
      lock_timeout: 10_000,
      connectionTimeoutMillis: 5_000,
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
