import { z } from 'zod';
import { listening, publicListening } from '#http/open';
import { common, restoreSettings as commonRestoreSettings, subscriberSettings } from '#process/common-settings';
import { type Settings, token, url } from '#process/config';

const { PORT, HOST, APP_API_TOKEN, DATABASE_URL, LOG_LEVEL, MASTER_KEY, OPERATOR_TOKEN, TRUST_PROXY } = common;

/** Parses `name=token,name=token` into a map of tokens by name. */
const readerTokens: z.ZodType<ReadonlyMap<string, string>, string> = z
  .string()
  .transform((value) =>
    value
      .split(',')
      .filter(Boolean)
      .map((pair) => /^([^=]*)=?(.*)$/.exec(pair)!.slice(1)),
  )
  .pipe(z.array(z.tuple([z.string().regex(/^[a-z][a-z0-9-]*$/, 'a name is not kebab-case'), token])))
  .refine((pairs) => new Set(pairs.map(([name]) => name)).size === pairs.length, 'a name occurs twice')
  .transform((pairs) => new Map(pairs));

const IDENTITY_PROVIDER_SECRET = { schema: token, doc: 'API secret of the identity provider', secret: true };

/** Settings of the member API. */
export const settings = {
  ...publicListening,
  APP_API_TOKEN,
  DATABASE_URL,
  LOG_LEVEL,
  MASTER_KEY,
  OPERATOR_TOKEN,
  TRUST_PROXY,
  READER_TOKENS: {
    schema: readerTokens,
    doc: "bearer credentials of other systems, as `name=token,name=token`: they may read members' newest state and published events. The name is the system's app-id, the target of the events that it requests again",
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

/** Settings of each worker. */
export const workerSettings = {
  ...listening,
  DATABASE_URL,
  ...subscriberSettings,
  LOG_LEVEL,
  MASTER_KEY,
} as const satisfies Settings;

/** Settings of the migrations, which run as the owner of the database. */
export const migrationSettings = { DATABASE_URL } as const satisfies Settings;

/** Settings of the command that runs, as the role `_app`, after the database was restored to an earlier time. */
export const restoreSettings = commonRestoreSettings;

/** Settings of the fake identity provider for local use. */
export const sandboxSettings = { PORT, HOST, IDENTITY_PROVIDER_SECRET } as const satisfies Settings;
