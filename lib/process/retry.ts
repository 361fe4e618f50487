import { setTimeout as delay } from 'node:timers/promises';

/** Limits of a retry loop. */
export interface RetryPolicy {
  /** Timeout of one try; milliseconds. */
  readonly tryMs: number;
  /** Limit for all tries together, because a user waits for the result; milliseconds. */
  readonly totalMs: number;
  readonly tries: number;
  /** Longest wait before the second try, doubled for each further try; milliseconds. */
  readonly backoffMs: number;
}

const DEFAULT_POLICY: RetryPolicy = { tryMs: 3_000, totalMs: 8_000, tries: 3, backoffMs: 200 };

/** A failed response that may succeed when the request is repeated. */
export class RetryableError extends Error {
  override readonly name = 'RetryableError';
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, { retryAfterSeconds, cause }: { retryAfterSeconds?: number; cause?: unknown } = {}) {
    super(message, { cause });
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /**
   * @param retryAfter the header, in seconds or as a date, capped at one day. Invalid values and past dates are ignored
   */
  static fromAnswer(status: number, retryAfter: string | string[] | undefined): RetryableError {
    const text = `${retryAfter}`;
    const seconds = /^\d+$/.test(text) ? Number(text) : Math.ceil((Date.parse(text) - Date.now()) / 1_000);
    return new RetryableError(`answered ${status}`, {
      retryAfterSeconds: seconds > 0 ? Math.min(seconds, 86_400) : undefined,
    });
  }
}

/**
 * Repeats idempotent work until it succeeds or the policy's limits are reached. Waits are random up to their length, so
 * that callers hit by the same outage do not retry in step.
 * @param work must stop when its signal aborts
 * @param policy overrides of the defaults: 3 s per try, 8 s in total, 3 tries, 200 ms backoff
 * @throws the error of the last try
 */
export async function retry<T>(
  work: (signal: AbortSignal) => Promise<T>,
  policy: Partial<RetryPolicy> = {},
  random = Math.random,
): Promise<T> {
  const { tryMs, totalMs, tries, backoffMs } = { ...DEFAULT_POLICY, ...policy };
  const deadline = performance.now() + totalMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(AbortSignal.timeout(Math.max(1, Math.ceil(Math.min(tryMs, deadline - performance.now())))));
    } catch (error) {
      const retryAfterMs = error instanceof RetryableError ? (error.retryAfterSeconds ?? 0) * 1_000 : 0;
      const wait = Math.max(retryAfterMs, random() * backoffMs * 2 ** (attempt - 1));
      if (!isTransient(error) || attempt >= tries || performance.now() + wait >= deadline) throw error;
      await delay(wait);
    }
  }
}

/** Returns true for a retryable response, a timeout or a failed connection. */
function isTransient(error: unknown): boolean {
  if (error instanceof RetryableError) return true;
  const { name, code } = error as { name?: string; code?: unknown };
  return name === 'TimeoutError' || (typeof code === 'string' && /^(UND_ERR|E[A-Z]+|EAI_AGAIN)/.test(code));
}
