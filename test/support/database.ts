import { randomBytes } from 'node:crypto';
import { Client } from 'pg';

export interface Urls {
  readonly owner: string;
  readonly app: string;
  readonly relay: string;
  readonly housekeeping: string;
  readonly readonly: string;
}

export interface TestDatabase extends AsyncDisposable {
  /** Connection strings by role. */
  readonly urls: Urls;
  /** Runs SQL as the superuser, to inspect the database and to inject faults. */
  sql<Row = Record<string, unknown>>(text: string, params?: unknown[]): Promise<Row[]>;
  drop(): Promise<void>;
}

/**
 * Creates a database for one test file, cloned from the migrated template of a system.
 * @param system `member`, `family_account`, or `lamp`, which has the tables of eventing only
 */
export async function createTestDatabase(system: string): Promise<TestDatabase> {
  const { superuserUrl, systems } = JSON.parse(process.env.TEST_POSTGRES ?? '{}') as {
    superuserUrl: string;
    systems: Record<string, Urls>;
  };
  const roles = systems?.[system];
  if (!roles) throw new Error(`No template database ${system}: run integration tests through Jest's project "int"`);
  const name = `test_${system}_${randomBytes(6).toString('hex')}`;
  const owner = new URL(roles.owner).username;
  await asSuperuser(superuserUrl, 'postgres', async (client) => {
    await client.query(`create database ${name} template ${system} owner ${owner}`);
    await client.query(`revoke all on database ${name} from public`);
    const grantees = Object.values(roles).map((url) => new URL(url).username);
    await client.query(`grant connect on database ${name} to ${grantees.join(', ')}`);
  });
  const urls = Object.fromEntries(
    Object.entries(roles).map(([role, url]) => [role, inDatabase(url, name)]),
  ) as unknown as Urls;
  const client = new Client(inDatabase(superuserUrl, name));
  await client.connect();
  // Dropping the database by force also disconnects this client.
  client.on('error', () => undefined);
  const drop = async (): Promise<void> => {
    await client.end();
    await asSuperuser(superuserUrl, 'postgres', (admin) => admin.query(`drop database if exists ${name} with (force)`));
  };
  let last: Promise<unknown> = Promise.resolve();
  return {
    urls,
    // Queries run in order on one connection, so that a test can hold a transaction open while others observe it.
    sql<Row>(text: string, params?: unknown[]): Promise<Row[]> {
      const result = last.then(() => client.query(text, params)).then(({ rows }) => rows as Row[]);
      last = result.catch(() => undefined);
      return result;
    },
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

function inDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

async function asSuperuser<T>(url: string, database: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(inDatabase(url, database));
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
