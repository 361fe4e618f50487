import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { eventingMigrations } from '#eventing/schema';
import { migrate } from '#process/database';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { eventually } from '../../support/eventually.ts';

/** Rows of each table before the migrations. */
const ROWS = Number(process.env.MIGRATION_ROWS ?? 2_000);
/** Of the last release. */
const LAST = 2;
const MIGRATIONS = eventingMigrations({ roles: 'lamp' });

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase('lamp');
  await database.sql('drop schema eventing cascade; delete from migration');
  await migrateTo(LAST);
});
afterEach(() => database[Symbol.asyncDispose]());

const migrateTo = (count: number) =>
  migrate({ url: database.urls.owner, migrations: MIGRATIONS.slice(0, count), print: () => undefined });

/** By table: its columns, and a row of the last weeks, in SQL. `n` counts the rows. */
const CONTENT = {
  event_store: [
    'id, aggregate_type, aggregate_id, sequence, event_type, attributes, event_channel, requested_by, traceparent',
    `id, 'lamp', gen_random_uuid(), 1, 'lamp.changed', '{}', 'lamp', 'system', ''`,
  ],
  stream: ['aggregate_type, aggregate_id, last_sequence', `'lamp', gen_random_uuid(), 1`],
  encryption_key: ['aggregate_id, wrapped_key', `gen_random_uuid(), '\\x00'`],
  outbox: [
    'id, event_id, channel, topic, ordering_key, envelope',
    `id, id, 'internal', 'lamp-internal', id::text, '{}'`,
  ],
  relayed: [
    'id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at',
    `id, id, 'internal', 'lamp-internal', id::text, 0, 'ALL', '{}', 0, now(), now()`,
  ],
  published: [
    'id, event_id, channel, topic, target, attempts, created_at, relayed_at',
    `id, id, 'internal', 'lamp-internal', 'ALL', 0, now(), now()`,
  ],
  inbox: ['consumer, event_id', `'counter', id`],
  cursor: ['consumer, stream, aggregate_id, last_sequence', `'counter', '/lamp', gen_random_uuid()::text, 1`],
  kept_delivery: [
    'consumer, event_id, stream, aggregate_id, sequence, event_type, state, envelope',
    `'counter', id, '/lamp', gen_random_uuid()::text, 2, 'lamp.changed', 'early', '{}'`,
  ],
} as const;
const TABLES = Object.keys(CONTENT) as (keyof typeof CONTENT)[];

const fill = (table: keyof typeof CONTENT, rows: number) => {
  const id = `overlay(eventing.first_id_at(now() - n % 1000000 * interval '1 second')::text
    placing '7' || substr(gen_random_uuid()::text, 16) from 15)::uuid as id`;
  const [columns, values] = CONTENT[table];
  return database.sql(
    `insert into eventing.${table} (${columns}) select ${values} from (select n, ${id} from generate_series(1, ${rows}) n) given`,
  );
};

/** Writes into a table as the last release does, again and again. */
class Writer {
  written = 0;
  longestMs = 0;
  readonly #table: keyof typeof CONTENT;
  #isDone = false;
  #writing = Promise.resolve();

  constructor(table: keyof typeof CONTENT) {
    this.#table = table;
  }

  start(): this {
    this.#writing = this.#write();
    return this;
  }

  async stop(): Promise<void> {
    this.#isDone = true;
    await this.#writing;
  }

  async #write(): Promise<void> {
    const client = new Client({ connectionString: database.urls.app });
    await client.connect();
    const [columns, values] = CONTENT[this.#table];
    try {
      for (; !this.#isDone; this.written++) {
        const since = performance.now();
        const statement = `insert into eventing.${this.#table} (${columns}) select ${values} from (select $1::uuid as id) given`;
        await client.query(statement, [uuid()]);
        this.longestMs = Math.max(this.longestMs, performance.now() - since);
      }
    } finally {
      await client.end();
    }
  }
}

test('tables of the last release keep their rows and their writers during the migrations', async () => {
  for (const table of TABLES) await fill(table, ROWS);
  await database.sql('analyze');
  const tables = TABLES.filter((table) => table !== 'relayed');
  const writers = new Map(tables.map((table) => [table as string, new Writer(table).start()]));
  const since = performance.now();
  const haveAllWritten = async () => {
    const before = [...writers.values()].map((writer) => [writer, writer.written] as const);
    await eventually(() => {
      for (const [writer, count] of before) expect(writer.written).toBeGreaterThan(count);
    });
  };
  try {
    await haveAllWritten();
    await migrateTo(MIGRATIONS.length);
    await haveAllWritten();
  } finally {
    await Promise.all([...writers.values()].map((writer) => writer.stop()));
  }
  const seconds = (performance.now() - since) / 1000;
  for (const table of TABLES) {
    const [row] = await database.sql(`select count(*)::int as rows from eventing.${table}`);
    expect([table, row]).toEqual([table, { rows: ROWS + (writers.get(table)?.written ?? 0) }]);
  }
  const longest = Object.fromEntries([...writers].map(([table, { longestMs }]) => [table, Math.round(longestMs)]));
  if (process.env.MIGRATION_ROWS)
    process.stdout.write(
      `${ROWS} rows a table, ${seconds.toFixed(1)} s; longest write in ms: ${JSON.stringify(longest)}\n`,
    );
}, 1_800_000);
