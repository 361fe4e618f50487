import { Client } from 'pg';
import { sessionSettings, TIMEOUTS } from '#process/session-settings';

/**
 * Roles of a system's database: for migrations, the services, the relay, housekeeping, and read access of operators.
 */
export const databaseRoles = ['owner', 'app', 'relay', 'housekeeping', 'readonly'] as const;
export type DatabaseRole = (typeof databaseRoles)[number];

/** Connection strings of one system's database, by role. */
export type SystemUrls = Readonly<Record<DatabaseRole, string>>;

/**
 * Creates the database and the roles of these connection strings; existing roles get the passwords and the current
 * settings. The owner role owns the database and runs migrations; the others may connect and get their privileges from
 * migrations. No other role may connect. Failed statements of these roles are logged without values, which may be
 * personal data.
 * @param adminUrl connection string of a role that may create databases and roles
 * @param remark called with each statement that the admin role lacks the privilege for
 * @throws Error if the connection strings contradict each other, or the server rejects a statement
 */
export async function createDatabase(
  adminUrl: string,
  urls: SystemUrls,
  remark: (line: string) => void = () => undefined,
): Promise<void> {
  const roles = databaseRoles.map((role) => ({ role, ...partsOf(urls[role]) }));
  const { database, name: owner } = roles[0]!;
  for (const { role, name, database: other } of roles) {
    if (other !== database)
      throw new Error(`The URL of ${role} names the database ${other}, that of owner ${database}: use one database`);
    if (!name.endsWith(`_${role}`))
      throw new Error(`The role ${name} must end in _${role}: migrations grant privileges by this suffix`);
    for (const identifier of [name, database])
      if (!/^[a-z_]+$/.test(identifier))
        throw new Error(`Invalid name ${identifier}: use lower-case letters and underscores only`);
  }
  await withClient(adminUrl, async (client) => {
    for (const { name, password } of roles) await createRole(client, name, password);
    for (const { name } of roles) await keepValuesFromLog(client, name, remark);
    for (const { role, name } of roles)
      await set(client, name, role === 'app' ? { ...sessionSettings, ...TIMEOUTS } : sessionSettings);
    const { rowCount } = await client.query('select from pg_database where datname = $1', [database]);
    if (rowCount === 0) {
      // Without superuser rights, a role can only create a database for an owner that it is a member of.
      await client.query(`grant ${owner} to current_user`);
      await client.query(`create database ${database} owner ${owner}`);
    }
    // Settings of a role in one database would override those of the role.
    for (const { name } of roles)
      for (const setting of Object.keys(sessionSettings))
        await client.query(`alter role ${name} in database ${database} reset ${setting}`);
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

/** Sets them for the role: poolers reject settings that are sent with a connection. */
async function set(client: Client, name: string, settings: Readonly<Record<string, string | number>>): Promise<void> {
  for (const [setting, value] of Object.entries(settings))
    await client.query(`alter role ${name} set ${setting} = '${value}'`);
}

/** MikroORM writes values into its statements, and the server's message about a duplicate contains the key. */
async function keepValuesFromLog(client: Client, name: string, remark: (line: string) => void): Promise<void> {
  const settings = { log_min_error_statement: 'panic', log_error_verbosity: 'terse' };
  for (const [setting, value] of Object.entries(settings)) {
    const statement = `alter role ${name} set ${setting} = ${value}`;
    await client.query(statement).catch((error: { code?: string }) => {
      if (error.code !== '42501') throw error;
      remark(`no privilege for "${statement}": run it as a superuser, else failed statements are logged with values`);
    });
  }
}

async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  // On a busy machine connecting may take seconds.
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  // A lost connection is reported by the running query; without a listener it would end the process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end();
  }
}
