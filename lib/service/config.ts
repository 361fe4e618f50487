import { z } from 'zod';

/** One variable of the environment. */
export interface Setting<T> {
  readonly schema: z.ZodType<T, string>;
  /** What it is for, as a clause: printed in errors and in the README. */
  readonly doc: string;
  /** As it would be written in the environment. Without one the variable has to be set. */
  readonly default?: string;
  /** Its value is never printed. */
  readonly secret?: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: each setting has a type of its own
export type Settings = Record<string, Setting<any>>;
export type Config<S extends Settings> = { readonly [K in keyof S]: z.output<S[K]['schema']> };

/** The environment is not as declared. The message names every bad variable and says what each is for. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/**
 * Reads the declared settings; a variable that is empty counts as not set.
 * @throws ConfigError naming every missing or wrong variable at once, without the value of a secret
 */
export function readConfig<S extends Settings>(settings: S, env: NodeJS.ProcessEnv = process.env): Config<S> {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const given = env[name] || setting.default;
    const result = given === undefined ? undefined : setting.schema.safeParse(given);
    if (result?.success) values[name] = result.data;
    else problems.push(describe(name, setting, given, result?.error));
  }
  if (problems.length > 0) throw new ConfigError(report(problems));
  return values as Config<S>;
}

function describe(
  name: string,
  { doc, secret }: Setting<unknown>,
  given: string | undefined,
  error?: z.ZodError,
): string {
  if (given === undefined) return `${name} is not set: ${doc}`;
  const shown = secret ? '' : ` ${JSON.stringify(given.slice(0, 100))}`;
  return `${name}${shown} is wrong (${error?.issues.map(({ message }) => message).join('; ')}): ${doc}`;
}

function report(problems: string[]): string {
  const count = problems.length === 1 ? '1 setting is' : `${problems.length} settings are`;
  return [`${count} missing or wrong. Set in the environment:`, ...problems.map((problem) => `  ${problem}`)].join(
    '\n',
  );
}

/** The settings as a Markdown table, for the README. */
export function configTable(settings: Settings): string {
  const rows = Object.entries(settings).map(([name, { doc, default: value, secret }]) => {
    const standard = value === undefined ? 'required' : `\`${value}\``;
    return `| \`${name}\` | ${standard} | ${(secret ? `${doc} (secret)` : doc).replaceAll('|', '\\|')} |`;
  });
  return ['| variable | default | what it is |', '|---|---|---|', ...rows, ''].join('\n');
}

/** A whole number within limits, from its decimal digits. */
export function integer({ min, max }: { min: number; max: number }): z.ZodType<number, string> {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'not a whole number')
    .transform(Number)
    .pipe(z.number().min(min, `less than ${min}`).max(max, `more than ${max}`));
}

/** An absolute URL with one of these schemes, such as `https`. */
export function url(...schemes: string[]): z.ZodType<string, string> {
  return z.string().refine((value) => isUrl(value, schemes), `not a URL that begins with ${wordsOf(schemes)}`);
}

/** Several of them, separated by commas. */
export function urls(...schemes: string[]): z.ZodType<string, string> {
  return z
    .string()
    .refine(
      (value) => value.split(',').every((each) => isUrl(each, schemes)),
      `not URLs that each begin with ${wordsOf(schemes)}, separated by commas`,
    );
}

const isUrl = (value: string, schemes: readonly string[]): boolean =>
  schemes.includes(URL.parse(value)?.protocol.slice(0, -1) ?? '');
const wordsOf = (schemes: readonly string[]): string => schemes.map((scheme) => `${scheme}://`).join(' or ');

/** `true` or `false`. */
export const flag: z.ZodType<boolean, string> = z.enum(['true', 'false']).transform((value) => value === 'true');

/** A credential that travels in a header: long enough not to be guessed, and nothing a header cannot carry. */
export const token: z.ZodType<string, string> = z
  .string()
  .regex(/^[\w.~+/=-]*$/, 'has other characters than letters, digits and ._~+/=-')
  .min(16, 'shorter than 16 characters');

const masterKeys: z.ZodType<Buffer[], string> = z
  .string()
  .transform((value) => value.split(','))
  .pipe(
    z.array(
      z
        .base64('not base64')
        .transform((value) => Buffer.from(value, 'base64'))
        .refine((key) => key.length === 32, 'not 32 bytes'),
    ),
  );

/** `host:port`, several separated by commas, IPv6 in brackets; or nothing. */
const addresses: z.ZodType<{ host: string; port: number }[], string> = z
  .string()
  .transform((value) => value.split(',').filter(Boolean))
  .pipe(z.array(z.string().regex(/^(\[[\da-f:.]+\]|[\w.-]+):\d{1,5}$/i, 'not host:port')))
  .transform((list) =>
    list.map((address) => {
      const colon = address.lastIndexOf(':');
      return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
    }),
  );

/** Settings of every process that serves; take what a process needs. */
export const common = {
  PORT: {
    schema: integer({ min: 0, max: 65_535 }),
    doc: 'port that HTTP is served on; 0 takes a free one',
    default: '8080',
  },
  HOST: { schema: z.string(), doc: 'address that HTTP is served on', default: '127.0.0.1' },
  PART_SECONDS: {
    schema: integer({ min: 0, max: 60 }),
    doc: 'how long a process that is told to stop serves on, not ready, while callers find others and those who keep a connection are asked to close it',
    default: '0',
  },
  LINGER_SECONDS: {
    schema: integer({ min: 0, max: 10 }),
    doc: 'how long it then serves on while its sidecar leaves: because it says that it is not healthy, or, with END_SIDECAR, because it tells it',
    default: '0',
  },
  DRAIN_SECONDS: {
    schema: integer({ min: 1, max: 600 }),
    doc: 'how long a process that has stopped serving may take to finish what it has begun; half of it is for requests, since what they work with closes after them',
    default: '20',
  },
  END_SIDECAR: {
    schema: flag,
    doc: 'whether a process that is told to stop tells its sidecar: where nobody else does before this process has ended, as with a native sidecar on Kubernetes, which would go on taking calls for nobody',
    default: 'false',
  },
  DATABASE_URL: {
    schema: url('postgres', 'postgresql'),
    doc: 'PostgreSQL, as `postgres://role:password@host:port/database`',
    secret: true,
  },
  DAPR_HTTP_PORT: { schema: integer({ min: 1, max: 65_535 }), doc: "the Dapr sidecar's HTTP port", default: '3500' },
  DAPR_API_TOKEN: { schema: token, doc: 'credential that this process shows to its Dapr sidecar', secret: true },
  APP_API_TOKEN: { schema: token, doc: 'credential that the Dapr sidecar shows to this process', secret: true },
  BROKER_ADDRESS: {
    schema: addresses,
    doc: 'where the broker is, as `host:port`, several separated by commas: a sidecar that has lost it for good is restarted once it can be reached there; without it never',
    default: '',
  },
  SILENCE_SECONDS: {
    schema: integer({ min: 1, max: 3600 }),
    doc: 'how long a message may be under way before a subscription that has heard nothing since counts as dead, and how long nothing may get through to a broker that is there',
    default: '30',
  },
  REPAIR_AFTER_SECONDS: {
    schema: integer({ min: 1, max: 3600 }),
    doc: 'how long after it has come back to its publisher an event may still be on its way here: what has not arrived then is asked for again. Longer than the broker takes to bring again what was not acknowledged',
    default: '60',
  },
  LOG_LEVEL: {
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace']),
    doc: 'the least severe level that is logged',
    default: 'info',
  },
  MASTER_KEY: {
    schema: masterKeys,
    doc: "base64 of 32 random bytes; wraps the keys that members' values are encrypted with. Several, separated by commas, while one follows another: the first wraps, any of them opens",
    secret: true,
  },
  OPERATOR_TOKEN: { schema: token, doc: 'bearer credential of operators', secret: true },
  NATS_URL: {
    schema: urls('nats', 'tls'),
    doc: 'NATS, as `nats://token@host:port` or `nats://user:password@host:port`, by a user who may manage streams; several servers separated by commas',
    secret: true,
  },
} as const satisfies Settings;

/** Settings of every process that hears topics, beside those of its own. */
export const hearing = {
  DAPR_HTTP_PORT: common.DAPR_HTTP_PORT,
  DAPR_API_TOKEN: common.DAPR_API_TOKEN,
  APP_API_TOKEN: common.APP_API_TOKEN,
  BROKER_ADDRESS: common.BROKER_ADDRESS,
  SILENCE_SECONDS: common.SILENCE_SECONDS,
  REPAIR_AFTER_SECONDS: common.REPAIR_AFTER_SECONDS,
} as const satisfies Settings;

/** Settings of the commands that put a system right whose database was restored to an earlier time. */
export const restoring = {
  DATABASE_URL: common.DATABASE_URL,
  MASTER_KEY: common.MASTER_KEY,
  NATS_URL: common.NATS_URL,
  ACCEPT_GAP: {
    schema: flag,
    doc: 'whether to go on although the topic does not reach back to the moment that the database was restored to',
    default: 'false',
  },
  LOG_LEVEL: common.LOG_LEVEL,
} as const satisfies Settings;
