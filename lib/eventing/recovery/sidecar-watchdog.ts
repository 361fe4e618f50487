import { once } from 'node:events';
import { connect } from 'node:net';
import { request } from 'undici';

export interface SidecarAddress {
  /** daprd's HTTP port on this machine. */
  readonly port: number;
  /** The API token that daprd requires (its own `DAPR_API_TOKEN`). */
  readonly apiToken: string;
}

export interface SidecarWatchdogOptions extends SidecarAddress {
  /** Addresses of the broker; one reachable address is enough. With none, daprd is never restarted. */
  readonly brokers: readonly { readonly host: string; readonly port: number }[];
  /** How long a topic must fail, with the broker reachable, before daprd is restarted; milliseconds. */
  readonly stallMs: number;
  readonly log: { warn(fields: object, message: string): void };
}

const ANSWER_TIMEOUT_MS = 2_000;
/** Callers report a failing topic at least this often or, if that is longer, once per `stallMs`. */
const LONGEST_PROBE_MS = 35_000;
/**
 * Maximum pause between two restarts, in units of `stallMs`. The pause doubles, because repeated restarts rarely help.
 */
const LONGEST_PAUSE = 60;

/**
 * Shuts daprd down when it has lost the broker permanently, so that the kubelet or the local supervisor restarts it.
 * Clients of some brokers stop reconnecting: JetStream's client does so two minutes into an outage. A consumer deleted
 * at the broker is never recreated. daprd stays healthy meanwhile, and Dapr has no setting for it, so the decision is
 * based on each topic's observed traffic.
 * Nothing is restarted while the broker is unreachable: daprd would not start, and its pod's API would become unready.
 */
export class SidecarWatchdog {
  readonly #options: SidecarWatchdogOptions;
  readonly #now: () => number;
  /** By topic: since when it fails although the broker is reachable, and the time of the last report. */
  readonly #failing = new Map<string, { since: number; last: number }>();
  #restartedAt = Number.NEGATIVE_INFINITY;
  #pauseFactor = 1;

  /** @param now a monotonic clock, in milliseconds */
  constructor(options: SidecarWatchdogOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  /**
   * Records that a topic fails, and restarts daprd once it has failed for `stallMs`. Never throws.
   * @param reason a clause for the log
   * @returns whether daprd was restarted
   */
  async reportFailure(topic: string, reason: string): Promise<boolean> {
    if (!(await this.#isBrokerReachable())) {
      this.reportSuccess(topic);
      return false;
    }
    const now = this.#now();
    const { stallMs, log } = this.#options;
    const previous = this.#failing.get(topic);
    // A report from long ago proves nothing about the time in between.
    const since = previous && now - previous.last < stallMs + LONGEST_PROBE_MS ? previous.since : now;
    this.#failing.set(topic, { since, last: now });
    const sinceRestart = (now - this.#restartedAt) / stallMs;
    if (now - since < stallMs || sinceRestart < this.#pauseFactor) return false;
    this.#pauseFactor = sinceRestart > LONGEST_PAUSE ? 2 : Math.min(LONGEST_PAUSE, this.#pauseFactor * 2);
    this.#restartedAt = now;
    this.#failing.clear();
    log.warn({ topic, reason }, 'sidecar has lost its connection to a reachable broker, restarting sidecar');
    await stopSidecar(this.#options).catch((error: unknown) =>
      log.warn({ err: error }, 'cannot restart sidecar, retrying later'),
    );
    return true;
  }

  /** Returns whether a topic was reported as failing, and not as working since. */
  isFailing(topic: string): boolean {
    return this.#failing.has(topic);
  }

  /** Records that a topic works. */
  reportSuccess(topic: string): void {
    this.#failing.delete(topic);
  }

  async #isBrokerReachable(): Promise<boolean> {
    return Promise.any(this.#options.brokers.map(assertResponds)).then(
      () => true,
      () => false,
    );
  }
}

/**
 * Shuts daprd down gracefully, by the API that Dapr offers to finished jobs.
 * https://docs.dapr.io/operations/hosting/kubernetes/kubernetes-job/
 * @throws Error when daprd does not accept the request
 */
export async function stopSidecar({ port, apiToken }: SidecarAddress): Promise<void> {
  const { statusCode, body } = await request(`http://127.0.0.1:${port}/v1.0/shutdown`, {
    method: 'POST',
    headers: { 'dapr-api-token': apiToken },
    headersTimeout: ANSWER_TIMEOUT_MS,
    bodyTimeout: ANSWER_TIMEOUT_MS,
    reset: true,
  });
  await body.dump();
  if (statusCode >= 300) throw new Error(`daprd answered ${statusCode}`);
}

/**
 * Resolves when a broker responds. An accepted connection proves nothing, because the kernel accepts for a frozen process.
 * Every broker responds to PING or closes the connection: NATS greets, Redis answers, RabbitMQ and Kafka reject a foreign
 * protocol.
 */
async function assertResponds({ host, port }: { host: string; port: number }): Promise<void> {
  const socket = connect({ host, port, timeout: ANSWER_TIMEOUT_MS });
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    await Promise.race([
      once(socket, 'data'),
      once(socket, 'close'),
      once(socket, 'timeout').then(() => Promise.reject(new Error('no response'))),
    ]).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET') throw error;
    });
  } finally {
    socket.destroy();
  }
}
