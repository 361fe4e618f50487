import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

export interface CanaryOptions {
  /** The API that is asked. */
  readonly apiUrl: string;
  readonly operatorToken: string;
  /** How long it may take from one hop to the next; milliseconds. */
  readonly timeoutMs: number;
  /** Hears of each hop as the canary comes by. */
  readonly tell: (line: string) => void;
}

const POLL_MS = 200;

const sent = z.object({ id: z.uuid() });
const way = z.object({
  hops: z.array(z.object({ name: z.string(), at: z.string().nullable(), trouble: z.string().nullable() })),
});

/**
 * Has a system send a canary, and follows it from hop to hop until it has come by all of them.
 * @throws Error that names the hop where it stopped, and what is known of the reason
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
  let until = performance.now() + timeoutMs;
  // An API that has just been installed, or whose neighbour has, may be a moment away from its first answer.
  const patiently = async <T>(ask: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (performance.now() > until) throw new Error(`stopped at: API ${apiUrl}: ${reasonOf(error)}`);
        await delay(POLL_MS);
      }
    }
  };
  const { id } = await patiently(async () => sent.parse(await call('POST', path)));
  const began = performance.now();
  tell(`canary ${id} of ${system}`);
  for (let passed = 0; ; await delay(POLL_MS)) {
    const { hops } = await patiently(async () => way.parse(await call('GET', `${path}/${id}`)));
    const ahead = hops.findIndex(({ at }) => at === null);
    const reached = ahead === -1 ? hops.length : ahead;
    for (const { name } of hops.slice(passed, reached)) tell(`  ${name} (${seconds(performance.now() - began)})`);
    if (reached > passed) until = performance.now() + timeoutMs;
    passed = reached;
    if (reached === hops.length) return;
    const { name, trouble } = hops[ahead]!;
    if (performance.now() > until) throw new Error(`stopped at: ${name}: ${trouble}`);
  }
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** fetch says of every failure that it failed, and why in its cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  // Of several addresses that all fail, the error has a code and no message.
  return Error.isError(cause) ? `${message}: ${cause.message || (cause as NodeJS.ErrnoException).code}` : message;
}
