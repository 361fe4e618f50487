import { z } from 'zod';
import { publicListening } from '#http/open';
import { common, restoreSettings as commonRestoreSettings, subscriberSettings } from '#process/common-settings';
import { type Settings, token } from '#process/config';

const { PORT, SIDECAR_PORT, DATABASE_URL, LOG_LEVEL, MASTER_KEY, OPERATOR_TOKEN, TRUST_PROXY } = common;

const masterKey = {
  ...MASTER_KEY,
  doc: "base64 of 32 random bytes; wraps the keys that encrypt accounts' values. During a key rotation several, separated by commas: the first wraps, all unwrap",
};

/** Settings of the family-account service. */
export const settings = {
  ...publicListening,
  PORT: { ...PORT, default: '8081' },
  SIDECAR_PORT: { ...SIDECAR_PORT, default: '8084' },
  DATABASE_URL,
  ...subscriberSettings,
  LOG_LEVEL,
  MASTER_KEY: masterKey,
  OPERATOR_TOKEN,
  TRUST_PROXY,
  MEMBER_APP_ID: {
    schema: z.string().regex(/^[\w-]{1,64}(\.[a-z0-9-]{1,63})?$/, 'not an app-id'),
    doc: 'Dapr app-id of the member API, followed by its namespace if that differs: `member.other-namespace`',
    default: 'member',
  },
  MEMBER_READER_TOKEN: {
    schema: token,
    doc: "bearer credential at the member API, one of its `READER_TOKENS`; reads members' newest state and published events",
    secret: true,
  },
} as const satisfies Settings;

/** Settings of the migrations, which run as the owner of the database. */
export const migrationSettings = { DATABASE_URL } as const satisfies Settings;

/** Settings of the command that runs, as the role `_app`, after the database was restored to an earlier time. */
export const restoreSettings = { ...commonRestoreSettings, MASTER_KEY: masterKey } as const satisfies Settings;
