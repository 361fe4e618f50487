import { z } from 'zod';
import { common, flag, hearing, restoring, type Settings, token, url } from '#service/config';
import { leaving } from '#service/leave';

const { PORT, HOST, DATABASE_URL, LOG_LEVEL, MASTER_KEY, OPERATOR_TOKEN } = common;

/** `name=token,name=token` to a map of tokens by name. */
const readerTokens: z.ZodType<ReadonlyMap<string, string>, string> = z
  .string()
  .transform((value) =>
    value
      .split(',')
      .filter(Boolean)
      .map((pair) => /^([^=]*)=?(.*)$/.exec(pair)!.slice(1)),
  )
  .pipe(z.array(z.tuple([z.string().regex(/^[a-z][a-z0-9-]*$/, 'a name is not kebab-case'), token])))
  .transform((pairs) => new Map(pairs));

const IDENTITY_PROVIDER_SECRET = { schema: token, doc: 'API secret at the identity provider', secret: true };

/** The environment of the member API. */
export const settings = {
  PORT,
  HOST,
  ...leaving,
  DATABASE_URL,
  LOG_LEVEL,
  MASTER_KEY,
  OPERATOR_TOKEN,
  TRUST_PROXY: {
    schema: flag,
    doc: "whether a caller's address is the last one in X-Forwarded-For: only behind a proxy that sets it, and always there, since to the limits of wrong passwords all who come through it are one address else",
    default: 'false',
  },
  READER_TOKENS: {
    schema: readerTokens,
    doc: "bearer credentials of other systems that may read a member's newest state and what was published, as `name=token,name=token`; the name is the system's app-id, to which events are published again when it asks",
    default: '',
    secret: true,
  },
  IDENTITY_PROVIDER_URL: {
    schema: url('https', 'http'),
    doc: 'base URL of the identity provider (PortOne V2)',
    default: 'https://api.portone.io',
  },
  IDENTITY_PROVIDER_SECRET,
} as const satisfies Settings;

/** The environment of each worker. */
export const workerSettings = {
  PORT,
  HOST,
  ...leaving,
  DATABASE_URL,
  ...hearing,
  LOG_LEVEL,
  MASTER_KEY,
} as const satisfies Settings;

/** The environment of the migrations, which run as the database's owner. */
export const migrationSettings = { DATABASE_URL } as const satisfies Settings;

/** The environment of the command that is run after the database was restored to an earlier time: of the role `_app`. */
export const restoreSettings = restoring;

/** The environment of the sandbox that stands in for the identity provider on a laptop. */
export const sandboxSettings = { PORT, HOST, IDENTITY_PROVIDER_SECRET } as const satisfies Settings;
