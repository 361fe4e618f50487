import { type DestinationStream, type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino';

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
 * @param level the least severe level that is written; `info` for one that there is not, so that there is a log to say so in
 * @param to where to, stdout unless told
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

/** Written at once: a process that dies has already said why, and its lines stand in order. */
function stdout(): DestinationStream {
  return pino.destination({ dest: 1, sync: true });
}

/** An error without what people typed: some messages of the database, of the ORM and of parsers quote values. */
export function describeError(error: unknown): unknown {
  if (!Error.isError(error)) return { type: typeof error };
  const { code, constraint, table, slug } = error as Error & Record<'code' | 'constraint' | 'table' | 'slug', unknown>;
  return {
    type: error.name,
    message: harmlessMessage(error, code),
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

function harmlessMessage({ name, message }: Error, code: unknown): string | undefined {
  // What looked for it, and what could not be parsed: `"Anna Kim" is not valid JSON`.
  if (name === 'NotFoundError' || name === 'SyntaxError') return undefined;
  const sqlState = typeof code === 'string' && /^[0-9A-DF-Z][0-9A-Z]{4}$/.test(code) ? code : undefined;
  if (!sqlState) return message;
  // Data exceptions and broken constraints quote the datum; what follows the first line is the row or the statement.
  return /^2[23]/.test(sqlState) ? undefined : message.split('\n')[0];
}
