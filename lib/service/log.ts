import { type Logger, pino, stdTimeFunctions } from 'pino';

export type Log = Logger;

// Nobody should log these; whoever does so by mistake logs their absence.
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
 * A log of one JSON object a line, on stdout.
 * @param name the program
 * @param level the least severe level that is written
 */
export function createLog(name: string, level: string = 'info'): Log {
  return pino({
    name,
    level,
    timestamp: stdTimeFunctions.isoTime,
    redact: {
      paths: SECRETS.flatMap((key) => [key, key.startsWith('[') ? `*${key}` : `*.${key}`]),
      censor: '[redacted]',
    },
    serializers: { err: describeError, error: describeError },
  });
}

/** An error without what people typed: the messages of the database and the ORM quote the statement, its parameters and the row. */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code, constraint, table, slug } = error as Error & Record<'code' | 'constraint' | 'table' | 'slug', unknown>;
  const quotes = typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !code.startsWith('E');
  return {
    type: error.name,
    message: quotes ? undefined : error.message,
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
