import { z } from 'zod';
import { flag, integer, type Settings, token, url, urls } from './config.ts';

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

/** `host:port` entries separated by commas, IPv6 hosts in brackets. May be empty. */
const addresses: z.ZodType<{ host: string; port: number }[], string> = z
  .string()
  .transform((value) => value.split(',').filter(Boolean))
  .pipe(z.array(z.string().regex(/^(\[[\da-f:.]+\]|[\w.-]+):\d{1,5}$/i, 'not host:port')))
  .transform((list) =>
    list.map((address) => {
      const colon = address.lastIndexOf(':');
      return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
    }),
  )
  .refine((list) => list.every(({ port }) => port >= 1 && port <= 65_535), 'a port is not between 1 and 65535');

/** Settings shared by several processes; each process picks those it needs. */
export const common = {
  PORT: {
    schema: integer({ min: 0, max: 65_535 }),
    doc: 'port of the public API; 0 takes a free one',
    default: '8080',
  },
  HOST: { schema: z.string(), doc: 'address that HTTP servers listen on', default: '127.0.0.1' },
  SIDECAR_PORT: {
    schema: integer({ min: 0, max: 65_535 }),
    doc: 'port on 127.0.0.1 that the Dapr sidecar sends events and invocations to (`--app-port`); 0 takes a free one',
    default: '8081',
  },
  OPERATIONS_PORT: {
    schema: integer({ min: 0, max: 65_535 }),
    doc: 'port of `/healthz`, `/readyz` and the operator routes; 0 takes a free one. Do not expose it outside the cluster',
    default: '8083',
  },
  KEEP_ALIVE_SECONDS: {
    schema: integer({ min: 1, max: 86_400 }),
    doc: 'seconds that the public API keeps an idle connection open. Must be longer than the idle timeout of the proxy or load balancer in front of it: otherwise some requests fail with a connection reset',
    default: '95',
  },
  SHUTDOWN_DELAY_SECONDS: {
    schema: integer({ min: 0, max: 60 }),
    doc: 'seconds that a stopping process keeps serving while its readiness probe fails, so that endpoints and DNS drop it',
    default: '0',
  },
  SIDECAR_DRAIN_SECONDS: {
    schema: integer({ min: 0, max: 10 }),
    doc: 'seconds, after `SHUTDOWN_DELAY_SECONDS`, that a stopping process keeps serving while its sidecar stops',
    default: '0',
  },
  SHUTDOWN_TIMEOUT_SECONDS: {
    schema: integer({ min: 1, max: 600 }),
    doc: 'seconds, after both delays, that a stopping process may take to finish its work. Half of them are for requests in progress, because the resources they use close after them',
    default: '20',
  },
  STOP_SIDECAR: {
    schema: flag,
    doc: 'whether a stopping process also stops its sidecar. Needed for native sidecars of Kubernetes: they outlive the app and would accept calls for it',
    default: 'false',
  },
  DATABASE_URL: {
    schema: url('postgres', 'postgresql'),
    doc: 'PostgreSQL, as `postgres://role:password@host:port/database`',
    secret: true,
  },
  DAPR_HTTP_PORT: { schema: integer({ min: 1, max: 65_535 }), doc: "the Dapr sidecar's HTTP port", default: '3500' },
  DAPR_API_TOKEN: { schema: token, doc: 'credential that this process sends to its Dapr sidecar', secret: true },
  APP_API_TOKEN: { schema: token, doc: 'credential that the Dapr sidecar sends to this process', secret: true },
  BROKER_ADDRESS: {
    schema: addresses,
    doc: 'address of the broker, as `host:port`, several separated by commas. A sidecar that has lost its connection permanently is restarted once the broker can be reached there. Empty: sidecars are never restarted',
    default: '',
  },
  SUBSCRIPTION_STALL_SECONDS: {
    schema: integer({ min: 1, max: 3600 }),
    doc: 'seconds without a delivery, while a published message is pending, after which a subscription counts as stalled; also the limit for failed publishing while the broker can be reached',
    default: '30',
  },
  RECONCILE_AFTER_SECONDS: {
    schema: integer({ min: 1, max: 3600 }),
    doc: 'seconds to wait for the arrival of a confirmed event before it is requested again. Must be longer than the broker takes to redeliver',
    default: '60',
  },
  CONSUMER_ATTEMPTS: {
    schema: integer({ min: 1, max: 1000 }),
    doc: 'failed attempts after which a consumer’s event becomes a dead letter. None is spent while the consumer fails for several aggregates, or a dependency or the database is unavailable',
    default: '8',
  },
  CONSUMER_BACKOFF_MS: {
    schema: integer({ min: 10, max: 300_000 }),
    doc: 'milliseconds before the second attempt; doubled for each further one, up to five minutes',
    default: '500',
  },
  LOG_LEVEL: {
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace']),
    doc: 'least severe level that is logged',
    default: 'info',
  },
  MASTER_KEY: {
    schema: masterKeys,
    doc: "base64 of 32 random bytes; wraps the keys that encrypt members' values. During a key rotation several keys, separated by commas: the first one wraps, all unwrap",
    secret: true,
  },
  OPERATOR_TOKEN: { schema: token, doc: 'bearer credential of operators', secret: true },
  TRUST_PROXY: {
    schema: flag,
    doc: "whether a caller's address is the last entry of X-Forwarded-For. Set it behind a proxy, and only behind a proxy that sets this header. If it is off behind a proxy, all callers share one limit of wrong passwords and unknown tokens. A request whose last entry is not an IP address is refused",
    default: 'false',
  },
  NATS_URL: {
    schema: urls('nats', 'tls'),
    doc: 'NATS, as `nats://token@host:port` or `nats://user:password@host:port`, several servers separated by commas. The user needs the permission to manage streams',
    secret: true,
  },
} as const satisfies Settings;

/** Additional settings of every process that subscribes to topics. */
export const subscriberSettings = {
  DAPR_HTTP_PORT: common.DAPR_HTTP_PORT,
  DAPR_API_TOKEN: common.DAPR_API_TOKEN,
  APP_API_TOKEN: common.APP_API_TOKEN,
  BROKER_ADDRESS: common.BROKER_ADDRESS,
  SUBSCRIPTION_STALL_SECONDS: common.SUBSCRIPTION_STALL_SECONDS,
  RECONCILE_AFTER_SECONDS: common.RECONCILE_AFTER_SECONDS,
  CONSUMER_ATTEMPTS: common.CONSUMER_ATTEMPTS,
  CONSUMER_BACKOFF_MS: common.CONSUMER_BACKOFF_MS,
} as const satisfies Settings;

/** Settings of the commands that repair a system after its database was restored to an earlier time. */
export const restoreSettings = {
  DATABASE_URL: common.DATABASE_URL,
  MASTER_KEY: common.MASTER_KEY,
  NATS_URL: common.NATS_URL,
  ACCEPT_GAP: {
    schema: flag,
    doc: 'whether to continue when the topic does not reach back to the time that the database was restored to',
    default: 'false',
  },
  LOG_LEVEL: common.LOG_LEVEL,
} as const satisfies Settings;
