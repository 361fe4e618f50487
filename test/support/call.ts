import type { Listener } from '#http/listeners';
import { INVOKED } from './listeners.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: each route has its own body
  readonly body: any;
}

/**
 * Sends a request. Options: `body`, an object to send as JSON, or text to send unchanged; `key`, the `Idempotency-Key`; `sidecar`, daprd's
 * token for deliveries; `at`, the listener (default: the one of the credential); `from`, the address that a proxy in front passes on.
 */
export type Call = (
  method: string,
  path: string,
  options?: {
    token?: string | undefined;
    body?: unknown;
    key?: string;
    sidecar?: string | undefined;
    at?: Listener;
    from?: string;
  },
) => Promise<Answer>;

/** Returns a function that calls an API over HTTP. @param places the listener of each token (default: public; daprd's is its own) */
export function caller(
  urls: Readonly<Partial<Record<Listener, string>>>,
  places: Readonly<Record<string, Listener>> = {},
): Call {
  return async (method, path, { token, body, key, sidecar, at, from } = {}) => {
    const listener = at ?? (sidecar ? 'sidecar' : (places[token ?? ''] ?? 'public'));
    const response = await fetch(urls[listener] + path, {
      method,
      headers: {
        ...(key !== undefined && { 'idempotency-key': key }),
        ...(sidecar ? { 'dapr-api-token': sidecar } : listener === 'sidecar' && INVOKED),
        ...(from && { 'x-forwarded-for': from }),
        ...(token && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      body: typeof body === 'object' ? JSON.stringify(body) : (body as string | undefined),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    const read = isJson ? JSON.parse(text) : text;
    return { status: response.status, headers: response.headers, body: text === '' ? undefined : read };
  };
}

/** Returns a matcher for an answer that is the problem `slug`. */
export const problem = (slug: string, status: number) => ({ status, body: expect.objectContaining({ slug, status }) });

export const listeners: readonly Listener[] = ['public', 'sidecar', 'operations'];

/** Returns whether a listener refused the caller or does not serve the route. */
export const isRefused = ({ status, body }: Answer): boolean =>
  [401, 403].includes(status) || ['no-such-route', 'method-not-allowed'].includes(body?.slug);
