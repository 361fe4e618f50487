import { once } from 'node:events';
import { connect } from 'node:net';
import { request } from 'undici';

export interface SidecarAddress {
  /** daprd's HTTP port on this machine. */
  readonly port: number;
  /** The credential that daprd asks for (its own `DAPR_API_TOKEN`). */
  readonly apiToken: string;
}

export interface SidecarOptions extends SidecarAddress {
  /** Where the broker is; it is enough that one of them can be reached. With none, daprd is never restarted. */
  readonly brokers: readonly { readonly host: string; readonly port: number }[];
  /** For how long a topic must be dead, with the broker in reach, before daprd is restarted. */
  readonly silenceMs: number;
  readonly log: { warn(fields: object, message: string): void };
}

const ANSWER_TIMEOUT_MS = 2_000;
/** Who has no reason to look looks this seldom. */
const LONGEST_PROBE_MS = 35_000;
/** Between two restarts at the most, in silences: what several did not mend, one more will not. */
const LONGEST_PAUSE = 60;

/**
 * Has daprd end itself, for whoever keeps it running to start it again, when it has lost the broker for good. Some brokers' clients give up:
 * JetStream's does so two minutes into an outage, and a consumer that was deleted at the broker is never made again. daprd stays healthy
 * meanwhile and Dapr has no setting for it, so this goes by what is seen of each topic. While the broker is away nothing is restarted:
 * daprd would not start without it, and take the API in its pod down with it.
 */
export class Sidecar {
  readonly #options: SidecarOptions;
  readonly #now: () => number;
  /** By topic: since when it is dead although the broker is there, and when that was found last. */
  readonly #suspected = new Map<string, { since: number; last: number }>();
  #restartedAt = Number.NEGATIVE_INFINITY;
  #pause = 1;

  /** @param now in milliseconds, of a clock that is never set */
  constructor(options: SidecarOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  /**
   * Notes that nothing goes on a topic, and restarts daprd when that has been so for long enough. Never throws.
   * @param reason for the log, as a clause
   * @returns whether it was restarted
   */
  async suspect(topic: string, reason: string): Promise<boolean> {
    if (!(await this.#isBrokerThere())) {
      this.trust(topic);
      return false;
    }
    const now = this.#now();
    const { silenceMs, log } = this.#options;
    const known = this.#suspected.get(topic);
    // What was suspected once and long ago says nothing about the time in between.
    const since = known && now - known.last < silenceMs + LONGEST_PROBE_MS ? known.since : now;
    this.#suspected.set(topic, { since, last: now });
    const sinceRestart = (now - this.#restartedAt) / silenceMs;
    if (now - since < silenceMs || sinceRestart < this.#pause) return false;
    this.#pause = sinceRestart > LONGEST_PAUSE ? 2 : Math.min(LONGEST_PAUSE, this.#pause * 2);
    this.#restartedAt = now;
    this.#suspected.clear();
    log.warn({ topic, reason }, 'the sidecar has lost the broker, which is there: it is restarted');
    await endSidecar(this.#options).catch((error: unknown) =>
      log.warn({ err: error }, 'the sidecar cannot be restarted'),
    );
    return true;
  }

  /** Whether a topic was found dead and has not been found alive since. */
  suspects(topic: string): boolean {
    return this.#suspected.has(topic);
  }

  /** Notes that a topic is alive. */
  trust(topic: string): void {
    this.#suspected.delete(topic);
  }

  async #isBrokerThere(): Promise<boolean> {
    return Promise.any(this.#options.brokers.map(reach)).then(
      () => true,
      () => false,
    );
  }
}

/**
 * Has daprd end itself, gracefully: what it offers to jobs that are done. https://docs.dapr.io/operations/hosting/kubernetes/kubernetes-job/
 * @throws when it does not take it
 */
export async function endSidecar({ port, apiToken }: SidecarAddress): Promise<void> {
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
 * Resolves when a broker answers. That its machine takes the connection proves nothing: a frozen process has that done for it. Each kind of
 * broker says something to this, or hangs up: NATS greets, Redis answers, RabbitMQ and Kafka turn down what is not their protocol.
 */
async function reach({ host, port }: { host: string; port: number }): Promise<void> {
  const socket = connect({ host, port, timeout: ANSWER_TIMEOUT_MS });
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    await Promise.race([
      once(socket, 'data'),
      once(socket, 'close'),
      once(socket, 'timeout').then(() => Promise.reject(new Error('no answer'))),
    ]).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET') throw error;
    });
  } finally {
    socket.destroy();
  }
}
