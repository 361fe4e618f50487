import type { ClientBase } from 'pg';

/** Timeouts of the app's role, in milliseconds. Other roles have none, because their work takes longer. */
export const TIMEOUTS = {
  /** Longer than any statement of the services, shorter than the timeouts of callers and of the HTTP server. */
  statement_timeout: 15_000,
  /** An abandoned transaction holds row locks and keeps VACUUM from removing any dead row in the database. */
  idle_in_transaction_session_timeout: 30_000,
} as const;

/** Settings of all roles. Results depend on them, and a database or a server may have other defaults. */
export const sessionSettings = {
  /** Timestamps are parsed as ISO 8601. */
  DateStyle: 'ISO',
  /** A transaction that waited for a lock must see what the lock's holder wrote. */
  default_transaction_isolation: 'read committed',
  /** Floating-point numbers keep all digits. */
  extra_float_digits: '1',
  /** Statements name the services' tables without their schema. */
  search_path: 'public',
  /** MikroORM writes values into statements without escaping backslashes. */
  standard_conforming_strings: 'on',
} as const;

/** SQL that sets them, for a session that no pooler shares. */
export const setSession = Object.entries(sessionSettings)
  .map(([name, value]) => `set ${name} = '${value}';`)
  .join(' ');

/** Values set in place of wrong ones. For `synchronous_commit` every value but `off` is right: a stricter one stays. */
const CORRECTIONS = { ...TIMEOUTS, ...sessionSettings, synchronous_commit: 'on' };

const isRight = (name: string, condition: string) => `('${name}', current_setting('${name}') ${condition})`;
const FIND_WRONG = `
select name || ' is ' || current_setting(name) as wrong,
    case when value is not null and pg_backend_pid() = $1 then set_config(name, value, false) end is not null as "isMended"
  from (values ${[
    isRight('DateStyle', `like 'ISO%'`),
    isRight('default_transaction_isolation', `= 'read committed'`),
    isRight('extra_float_digits', `not like '-%'`),
    `('search_path', coalesce(current_schema() = 'public', false))`,
    isRight('standard_conforming_strings', `= 'on'`),
    // `replica` skips foreign keys and triggers; only a superuser can change it.
    isRight('session_replication_role', `= 'origin'`),
    // With `off`, a crash of PostgreSQL can lose a transaction whose event has already been published.
    isRight('synchronous_commit', `<> 'off'`),
    ...Object.keys(TIMEOUTS).map((name) => isRight(name, `<> '0'`)),
  ].join(', ')}) as setting(name, "isRight")
  left join jsonb_each_text($2) as corrections(name, value) using (name)
 where not "isRight"`;

/**
 * Corrects wrong settings that a new session has inherited from the role, the database or the server. Only possible
 * when the session belongs to this process: a pooler in transaction mode assigns another session to each transaction,
 * so there they must be correct.
 * @throws Error naming the settings that stay wrong, and the remedy
 */
export async function correctSession(client: ClientBase): Promise<void> {
  const { processID, user, database } = client as ClientBase & Record<'processID' | 'user' | 'database', unknown>;
  // A pooler reports a process id of its own, which differs from the session's.
  const { rows } = await client.query<{ wrong: string; isMended: boolean }>(FIND_WRONG, [processID, CORRECTIONS]);
  const wrong = rows.filter(({ isMended }) => !isMended).map((row) => row.wrong);
  if (wrong.length === 0) return;
  const message = `Sessions of the role ${user} in the database ${database} have settings that would produce wrong results: ${wrong.join(', ')}. Run ops/create-database again. Reset what is still wrong where it is set (\\drds in psql lists the settings of roles and databases), then run RECONNECT in a pooler's console`;
  // PostgreSQL's code for a configuration error.
  throw Object.assign(new Error(message), { code: 'F0000' });
}
