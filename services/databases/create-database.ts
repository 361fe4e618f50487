import { Client } from 'pg';
import { timeOuts } from '#service/time-outs';

/** The roles of a system's database: who migrates, serves, relays, keeps house, and only looks. */
export const databaseRoles = ['owner', 'app', 'relay', 'housekeeping', 'readonly'] as const;
export type DatabaseRole = (typeof databaseRoles)[number];

/** The connection strings of one system's database, by role. */
export type SystemUrls = Readonly<Record<DatabaseRole, string>>;

/**
 * Creates the database that these connection strings lead to, and the roles that they name; roles that exist get the passwords, and settings
 * that have been added since. The owner's role owns the database and so runs migrations; the others may connect, and get their privileges from migrations. Nobody else may connect.
 * What the server logs of a failed statement of theirs holds no values: these may be about persons.
 * @param adminUrl of a role that may create both
 * @param remark is told what the role may not do, and somebody else has to
 * @throws when the connection strings do not fit together, or the server refuses
 */
export async function createDatabase(
  adminUrl: string,
  urls: SystemUrls,
  remark: (line: string) => void = () => undefined,
): Promise<void> {
  const roles = databaseRoles.map((role) => ({ role, ...partsOf(urls[role]) }));
  const { database, name: owner } = roles[0]!;
  for (const { role, name, database: other } of roles) {
    if (other !== database) throw new Error(`${role} is for another database than owner: ${other}, not ${database}`);
    if (!name.endsWith(`_${role}`)) throw new Error(`The role ${name} is to end in _${role}: migrations grant by that`);
    for (const word of [name, database]) if (!/^[a-z_]+$/.test(word)) throw new Error(`Not a plain name: ${word}`);
  }
  await withClient(adminUrl, async (client) => {
    for (const { name, password } of roles) await createRole(client, name, password);
    for (const { name } of roles) await keepValuesFromLog(client, name, remark);
    await endWhatTakesTooLong(client, roles.find(({ role }) => role === 'app')!.name);
    const { rowCount } = await client.query('select from pg_database where datname = $1', [database]);
    if (rowCount === 0) {
      // Whoever is no superuser may give a database only to a role that he belongs to.
      await client.query(`grant ${owner} to current_user`);
      await client.query(`create database ${database} owner ${owner}`);
    }
    await client.query(`revoke all on database ${database} from public`);
    await client.query(`grant connect on database ${database} to ${roles.map(({ name }) => name).join(', ')}`);
  });
  const inDatabase = Object.assign(new URL(adminUrl), { pathname: `/${database}` }).href;
  await withClient(inDatabase, (client) => client.query('revoke create on schema public from public'));
}

function partsOf(url: string): { name: string; password: string; database: string } {
  const { username, password, pathname } = new URL(url);
  return { name: decodeURIComponent(username), password: decodeURIComponent(password), database: pathname.slice(1) };
}

async function createRole(client: Client, name: string, password: string): Promise<void> {
  const { rowCount } = await client.query('select from pg_roles where rolname = $1', [name]);
  const verb = rowCount === 0 ? 'create' : 'alter';
  await client.query(`${verb} role ${name} login password ${client.escapeLiteral(password)}`);
}

/**
 * Settings of the role, since a pooler refuses those that come with a connection. Of the service's role only: the others have time-outs of
 * their own, or work that takes its time.
 */
async function endWhatTakesTooLong(client: Client, name: string): Promise<void> {
  for (const [setting, ms] of Object.entries(timeOuts)) await client.query(`alter role ${name} set ${setting} = ${ms}`);
}

/** MikroORM writes values into its statements, and of a duplicate the server tells the key. */
async function keepValuesFromLog(client: Client, name: string, remark: (line: string) => void): Promise<void> {
  const settings = { log_min_error_statement: 'panic', log_error_verbosity: 'terse' };
  for (const [setting, value] of Object.entries(settings)) {
    const statement = `alter role ${name} set ${setting} = ${value}`;
    await client.query(statement).catch((error: { code?: string }) => {
      if (error.code !== '42501') throw error;
      remark(`a superuser has to say "${statement}": else the server's log holds values of failed statements`);
    });
  }
}

async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2000 });
  // A server that goes away is reported by the query under way.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end();
  }
}
