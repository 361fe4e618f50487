import { z } from 'zod';
import { common } from '#process/common-settings';
import { integer, type Settings } from '#process/config';

const {
  PORT,
  HOST,
  SHUTDOWN_TIMEOUT_SECONDS,
  DATABASE_URL,
  DAPR_HTTP_PORT,
  DAPR_API_TOKEN,
  BROKER_ADDRESS,
  SUBSCRIPTION_STALL_SECONDS,
  LOG_LEVEL,
} = common;

/** Settings of each relay. */
export const settings = {
  PORT: { ...PORT, doc: 'port of `/healthz` and `/readyz`; 0 takes a free one', default: '8082' },
  HOST,
  SHUTDOWN_TIMEOUT_SECONDS: {
    ...SHUTDOWN_TIMEOUT_SECONDS,
    doc: 'seconds that a stopping relay may take to finish its calls and release its partitions',
  },
  APP_ID: {
    schema: z.string().regex(/^[a-z0-9-]{1,50}$/, 'not an app-id'),
    doc: 'Dapr app-id of the service that the relay publishes for: its topics use the pub/sub components `<app-id>-<topic>`',
  },
  DATABASE_URL: {
    ...DATABASE_URL,
    doc: `${DATABASE_URL.doc}; directly or through a pooler in session mode, because a lease belongs to one connection`,
  },
  DAPR_HTTP_PORT,
  DAPR_API_TOKEN,
  BROKER_ADDRESS,
  SUBSCRIPTION_STALL_SECONDS,
  LOG_LEVEL,
  RESEND_AFTER_SECONDS: {
    schema: integer({ min: 1, max: 3600 }),
    doc: 'seconds after which an unconfirmed message is sent again; doubled with each repeat, up to an hour',
    default: '300',
  },
} as const satisfies Settings;
