import type { DaprPublisher } from '#eventing/dapr-publisher';
import type { SidecarWatchdog } from '#eventing/sidecar-watchdog';
import type { Log } from '#process/log';
import type { Backoff } from './circuit.ts';
import type { RetryPolicy } from './outbox-queries.ts';

export type Publisher = Pick<DaprPublisher, 'publishBulk'>;

export interface RelayOptions {
  readonly databaseUrl: string;
  readonly publisher: Publisher;
  /** Receives publishing failures and successes per topic; may restart daprd. */
  readonly sidecar?: Pick<SidecarWatchdog, 'reportFailure' | 'reportSuccess'>;
  /** Seconds after which an unconfirmed message is resent. */
  readonly resendAfterSeconds: number;
  readonly log: Log;
  readonly backoff?: Backoff;
  readonly retryPolicy?: RetryPolicy;
  /** Interval of polling the outbox; doubles while nothing wakes the relay (default 50 ms to 2 s). */
  readonly poll?: Backoff;
  /** Rejects while this relay's own daprd is not ready: then other relays should hold the partitions. */
  readonly ready?: () => Promise<void>;
  /** Milliseconds between two resent batches (default 1,000). */
  readonly resendPauseMs?: number;
}
