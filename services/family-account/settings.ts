import { z } from 'zod';
import { common, hearing, restoring, type Settings, token } from '#service/config';
import { leaving } from '#service/leave';

const { PORT, HOST, DATABASE_URL, LOG_LEVEL, MASTER_KEY, OPERATOR_TOKEN } = common;

const masterKey = {
  ...MASTER_KEY,
  doc: "base64 of 32 random bytes; wraps the keys that accounts' values are encrypted with",
};

/** The environment of the family-account service. */
export const settings = {
  PORT: { ...PORT, default: '8081' },
  HOST,
  ...leaving,
  DATABASE_URL,
  ...hearing,
  LOG_LEVEL,
  MASTER_KEY: masterKey,
  OPERATOR_TOKEN,
  MEMBER_APP_ID: {
    schema: z.string().regex(/^[\w-]{1,64}(\.[a-z0-9-]{1,63})?$/, 'not an app-id'),
    doc: 'Dapr app-id of the member API, with the namespace behind it where that is another: `member.other-namespace`',
    default: 'member',
  },
  MEMBER_READER_TOKEN: {
    schema: token,
    doc: "bearer credential that reads a member's newest state, one of the member API's `READER_TOKENS`",
    secret: true,
  },
} as const satisfies Settings;

/** The environment of the migrations, which run as the database's owner. */
export const migrationSettings = { DATABASE_URL } as const satisfies Settings;

/** The environment of the command that is run after the database was restored to an earlier time: of the role `_app`. */
export const restoreSettings = { ...restoring, MASTER_KEY: masterKey } as const satisfies Settings;
