import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

export interface CanaryOptions {
  /** Base URL of the API's operations port. */
  readonly apiUrl: string;
  readonly operatorToken: string;
  /** Time limit from one hop to the next, in milliseconds. */
  readonly timeoutMs: number;
  /** Called with a line for each hop that the canary has passed. */
  readonly tell: (line: string) => void;
}

const POLL_MS = 200;

const sent = z.object({ id: z.uuid() });
const progress = z.object({
  hops: z.array(z.object({ name: z.string(), at: z.string().nullable(), problem: z.string().nullable() })),
});

/**
 * Makes a system send a canary, a synthetic event, and follows it until it has passed all hops.
 * @throws Error that names the hop where it stopped, and the reason as far as it is known
 */
export async function sendCanary(
  system: string,
  { apiUrl, operatorToken, timeoutMs, tell }: CanaryOptions,
): Promise<void> {
  const path = `/v1/canaries/${encodeURIComponent(system)}`;
  const call = async (method: string, path: string): Promise<unknown> => {
    const headers = { authorization: `Bearer ${operatorToken}` };
    const response = await fetch(apiUrl + path, { method, headers, signal: AbortSignal.timeout(timeoutMs) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
    return JSON.parse(text);
  };
  let deadline = performance.now() + timeoutMs;
  // Right after an installation the API, or another API that it calls, may not respond yet.
  const withRetries = async <T>(attempt: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (performance.now() > deadline) throw new Error(`stopped at: API ${apiUrl}: ${reasonOf(error)}`);
        await delay(POLL_MS);
      }
    }
  };
  const { id } = await withRetries(async () => sent.parse(await call('POST', path)));
  const startedAt = performance.now();
  tell(`canary ${id} of ${system}`);
  for (let passed = 0; ; await delay(POLL_MS)) {
    const { hops } = await withRetries(async () => progress.parse(await call('GET', `${path}/${id}`)));
    const pending = hops.findIndex(({ at }) => at === null);
    const reached = pending === -1 ? hops.length : pending;
    for (const { name } of hops.slice(passed, reached)) tell(`  ${name} (${seconds(performance.now() - startedAt)})`);
    if (reached > passed) deadline = performance.now() + timeoutMs;
    passed = reached;
    if (reached === hops.length) return;
    const { name, problem } = hops[pending]!;
    if (performance.now() > deadline) throw new Error(`stopped at: ${name}: ${problem}`);
  }
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** The message of a fetch error is only "fetch failed"; the reason is in its cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  // An AggregateError of several addresses has a code and no message.
  return Error.isError(cause) ? `${message}: ${cause.message || (cause as NodeJS.ErrnoException).code}` : message;
}
