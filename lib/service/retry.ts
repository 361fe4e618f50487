import { setTimeout as delay } from 'node:timers/promises';

/** How long to bother somebody who does not answer; milliseconds. */
export interface Patience {
  /** For one try. */
  readonly tryMs: number;
  /** For all tries together: a person is waiting. */
  readonly totalMs: number;
  readonly tries: number;
  /** Longest wait before the second try, doubled for each further one. */
  readonly backoffMs: number;
}

const PATIENCE: Patience = { tryMs: 3_000, totalMs: 8_000, tries: 3, backoffMs: 200 };

/** An answer that may be another one in a moment. */
export class RetryableError extends Error {
  override readonly name = 'RetryableError';
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, { retryAfterSeconds, cause }: { retryAfterSeconds?: number; cause?: unknown } = {}) {
    super(message, { cause });
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** @param retryAfter the header; only its form in seconds is understood */
  static fromAnswer(status: number, retryAfter: string | string[] | undefined): RetryableError {
    const seconds = typeof retryAfter === 'string' && /^\d{1,5}$/.test(retryAfter) ? Number(retryAfter) : undefined;
    return new RetryableError(`answered ${status}`, { retryAfterSeconds: seconds });
  }
}

/**
 * Tries work that is safe to repeat until it succeeds or patience ends. Waits are random up to their length, so that those whom one
 * outage has hit do not come back as one.
 * @param work stops when its signal says so
 * @throws what the last try threw
 */
export async function retry<T>(
  work: (signal: AbortSignal) => Promise<T>,
  patience: Partial<Patience> = {},
  random = Math.random,
): Promise<T> {
  const { tryMs, totalMs, tries, backoffMs } = { ...PATIENCE, ...patience };
  const deadline = performance.now() + totalMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(AbortSignal.timeout(Math.max(1, Math.ceil(Math.min(tryMs, deadline - performance.now())))));
    } catch (error) {
      const told = error instanceof RetryableError ? (error.retryAfterSeconds ?? 0) * 1_000 : 0;
      const wait = Math.max(told, random() * backoffMs * 2 ** (attempt - 1));
      if (!isPassing(error) || attempt >= tries || performance.now() + wait >= deadline) throw error;
      await delay(wait);
    }
  }
}

/** An answer that may change, no answer in time, or no connection. */
function isPassing(error: unknown): boolean {
  if (error instanceof RetryableError) return true;
  const { name, code } = error as { name?: string; code?: unknown };
  return name === 'TimeoutError' || (typeof code === 'string' && /^(UND_ERR|E[A-Z]+|EAI_AGAIN)/.test(code));
}
