import { type DestinationStream, type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';

export type Log = Logger;

// Code should never log these. When it does by mistake, the line shows `[redacted]` instead.
const SECRETS = [
  'password',
  'token',
  'secret',
  'authorization',
  'cookie',
  'email',
  'ci',
  'phoneNumber',
  'birthDate',
  '["dapr-api-token"]',
];

/**
 * Creates a log that writes one JSON object per line.
 * @param name of the program
 * @param level least severe level that is written; an unknown level counts as `info`, so that the error about it is
 * logged
 * @param to destination (default stdout)
 */
export function createLog(name: string, level = 'info', to: DestinationStream = stdout()): Log {
  const options: LoggerOptions = {
    name,
    level: level in pino.levels.values ? level : 'info',
    timestamp: stdTimeFunctions.isoTime,
    redact: {
      paths: SECRETS.flatMap((key) => [key, key.startsWith('[') ? `*${key}` : `*.${key}`]),
      censor: '[redacted]',
    },
    serializers: { err: describeError, error: describeError },
  };
  return pino(options, to);
}

/** Synchronous, so that the last lines of a dying process are written, and in order. */
function stdout(): DestinationStream {
  return pino.destination({ dest: 1, sync: true });
}

/** Serialises an error without user input: some messages of the database, the ORM and parsers quote values. */
export function describeError(error: unknown): unknown {
  if (!Error.isError(error)) return { type: typeof error };
  const { code, constraint, table, slug } = error as Error & Record<'code' | 'constraint' | 'table' | 'slug', unknown>;
  return {
    type: error.name,
    message: safeMessage(error, code),
    code,
    constraint,
    table,
    slug,
    stack: error.stack
      ?.split('\n')
      .filter((line) => /^\s+at /.test(line))
      .join('\n'),
    cause: error.cause === undefined ? undefined : describeError(error.cause),
  };
}

function safeMessage({ name, message }: Error, code: unknown): string | undefined {
  // These quote the search condition and the text that could not be parsed: `"Anna Kim" is not valid JSON`.
  if (name === 'NotFoundError' || name === 'SyntaxError') return undefined;
  const sqlState = typeof code === 'string' && /^[0-9A-DF-Z][0-9A-Z]{4}$/.test(code) ? code : undefined;
  if (!sqlState) return message;
  // Data exceptions and constraint violations quote the value; lines after the first one quote the row or the
  // statement.
  return /^2[23]/.test(sqlState) ? undefined : message.split('\n')[0];
}
