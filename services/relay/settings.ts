import { z } from 'zod';
import { common, integer, type Settings } from '#service/config';

const {
  PORT,
  HOST,
  DRAIN_SECONDS,
  DATABASE_URL,
  DAPR_HTTP_PORT,
  DAPR_API_TOKEN,
  BROKER_ADDRESS,
  SILENCE_SECONDS,
  LOG_LEVEL,
} = common;

/** The environment of each relay. */
export const settings = {
  PORT: { ...PORT, doc: 'port of `/healthz` and `/readyz`; 0 takes a free one', default: '8082' },
  HOST,
  DRAIN_SECONDS: {
    ...DRAIN_SECONDS,
    doc: 'how long a relay that is told to stop may take to finish its wave and give its partitions back',
  },
  APP_ID: {
    schema: z.string().regex(/^[a-z0-9-]{1,50}$/, 'not an app-id'),
    doc: 'Dapr app-id of the service beside it: topics are published through the components `<app-id>-<topic>`',
  },
  DATABASE_URL: {
    ...DATABASE_URL,
    doc: `${DATABASE_URL.doc}; straight or through a pooler in session mode, since leases live as long as the connection`,
  },
  DAPR_HTTP_PORT,
  DAPR_API_TOKEN,
  BROKER_ADDRESS,
  SILENCE_SECONDS,
  LOG_LEVEL,
  RESEND_AFTER_SECONDS: {
    schema: integer({ min: 1, max: 3600 }),
    doc: 'after how long a relayed message that has not come back is sent again; then doubled, up to an hour',
    default: '300',
  },
} as const satisfies Settings;

/** The environment of the housekeeping command. */
export const housekeepingSettings = {
  DATABASE_URL,
  LOG_LEVEL,
  KEEP_PUBLISHED_DAYS: {
    schema: integer({ min: 1, max: 36_500 }),
    doc: 'how long the log of what came back is kept; facts are kept for ever',
    default: '90',
  },
} as const satisfies Settings;
