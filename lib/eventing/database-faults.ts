/**
 * Cause of a database error.
 * - `outage`: the database cannot be reached or cannot work. The same work succeeds once the database is back.
 * - `momentary`: a collision or a timeout. The same work may succeed a moment later.
 * - `input`: the database rejects this work. Every repetition fails.
 * - `systemic`: program and database do not match, such as a missing column or grant, or a wrong password. All such work
 *   fails until an operator acts.
 */
export type DatabaseFault = 'outage' | 'momentary' | 'input' | 'systemic';

/**
 * Keys: SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html); its first two characters where all
 * codes of the class mean the same; SQLSTATE and PostgreSQL's routine where one code has two meanings; Node.js codes.
 *
 * Not listed, because their cause is ambiguous: 25P02 (an earlier error was swallowed), P0001 (raised by a trigger),
 * XX000 (internal error).
 */
const FAULTS: Readonly<Record<string, DatabaseFault>> = {
  '08000': 'outage', // connection exceptions
  '08001': 'outage',
  '08003': 'outage',
  '08004': 'outage',
  '08006': 'outage',
  '08007': 'outage',
  '08P01': 'outage', // PgBouncer's code for most errors: server unavailable, too many waiting clients
  '0A000': 'systemic', // an older server, or a proxy, does not support the request
  '21000': 'input', // a subquery returned more than one row
  '22': 'input', // data exceptions: too long, out of range, U+0000, not JSON
  '23': 'input', // constraints
  '25006': 'outage', // read-only: a former primary, a full disk of a managed server
  '25P03': 'momentary', // idle in a transaction for too long: this process was frozen, or a dependency slow
  '25P04': 'momentary', // transaction_timeout
  '26000': 'outage', // prepared statement unknown: a pooler has switched to another session
  '28000': 'systemic', // pg_hba.conf, or the role may not log in
  '28P01': 'systemic', // wrong password
  '3D000': 'systemic', // no such database
  '3F000': 'systemic', // no such schema
  '40001': 'momentary', // serialisation failure
  '40003': 'momentary', // statement completion unknown
  '40P01': 'momentary', // deadlock
  '42': 'systemic', // statement and schema do not match: column, table, function, grant
  '42P05': 'outage', // prepared statement exists already: same cause as 26000
  '44000': 'input', // with check option
  '53000': 'outage', // resources
  '53100': 'outage', // the disk is full
  '53200': 'outage', // out of memory, or of space for locks
  '53300': 'outage', // too many connections
  '53400': 'systemic', // a configured limit, such as temp_file_limit
  '54': 'input', // too large, too deep, too many columns
  '54000 GetNewMultiXactId': 'outage', // out of ids: no writes until a vacuum
  '54000 GetNewTransactionId': 'outage',
  '55000': 'systemic', // such as a database that allows no connections
  '55006': 'momentary', // in use
  '55P02': 'systemic', // a setting cannot be changed now
  '55P03': 'momentary', // lock_timeout, or nowait
  '57000': 'outage', // operator intervention
  '57014': 'momentary', // statement_timeout
  '57P01': 'outage', // shut down, or terminated by an administrator
  '57P02': 'outage', // crashed
  '57P03': 'outage', // starting up, in recovery
  '57P04': 'outage', // database dropped: it is being restored
  '57P05': 'outage', // the session was idle for too long
  '58000': 'outage', // system errors of the server
  '58030': 'outage', // I/O error
  '58P01': 'systemic', // a file is missing: an extension, or data
  F0000: 'systemic', // invalid server configuration
  XX001: 'systemic', // corrupted data
  XX002: 'systemic', // a corrupted index

  EADDRNOTAVAIL: 'outage', // no local port is free
  EAI_AGAIN: 'outage',
  ECONNABORTED: 'outage',
  ECONNREFUSED: 'outage',
  ECONNRESET: 'outage',
  EHOSTDOWN: 'outage',
  EHOSTUNREACH: 'outage',
  EMFILE: 'outage', // too many open files and sockets
  ENETDOWN: 'outage',
  ENETUNREACH: 'outage',
  ENFILE: 'outage',
  ENOTFOUND: 'outage',
  EPIPE: 'outage',
  ETIMEDOUT: 'outage',

  CERT_HAS_EXPIRED: 'systemic',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'systemic',
  ERR_TLS_CERT_ALTNAME_INVALID: 'systemic',
  SELF_SIGNED_CERT_IN_CHAIN: 'systemic',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'systemic',
};

/** By the beginning of the message, which takes precedence over the code: pg's own errors have no code. */
const MESSAGES: readonly (readonly [RegExp, DatabaseFault])[] = [
  // No connection free in time, none opened in time, one broken during a query, or the process is shutting down.
  [/^(timeout exceeded when trying to connect|timeout expired$|Connection terminated)/, 'outage'],
  [/^(Client (has encountered a connection error|was closed)|Cannot use a pool after calling end)/, 'outage'],
  [/^Query read timeout/, 'momentary'],
  [/^(The server does not support SSL connections|There was an error establishing an SSL connection)/, 'systemic'],
  [/^SASL: /, 'systemic'],
  // From PgBouncer, with code 08P01.
  [/^unsupported startup parameter/, 'systemic'],
];

/**
 * Classifies an error, or else the nearest cause that can be classified.
 * @returns undefined when the error is not the database's, or not known
 */
export function databaseFault(error: unknown): DatabaseFault | undefined {
  if (!Error.isError(error)) return undefined;
  return ofMessage(error.message) ?? ofCode(error) ?? databaseFault(error.cause);
}

function ofMessage(message: string): DatabaseFault | undefined {
  return MESSAGES.find(([beginning]) => beginning.test(message))?.[1];
}

function ofCode(error: Error): DatabaseFault | undefined {
  const { code, routine } = error as { code?: unknown; routine?: unknown };
  if (typeof code !== 'string') return undefined;
  // With a routine it is PostgreSQL's own: MikroORM writes values into statements, and U+0000 cuts the text short.
  if (code === '08P01' && routine) return 'input';
  const ofClass = /^[0-9A-Z]{5}$/.test(code) ? FAULTS[code.slice(0, 2)] : undefined;
  return FAULTS[`${code} ${routine}`] ?? FAULTS[code] ?? ofClass;
}
