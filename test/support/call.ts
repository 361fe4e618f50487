export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers
  readonly body: any;
}

/** @param body an object is sent as JSON, text as it is; `key` as the `Idempotency-Key`, `sidecar` as the token of daprd */
export type Call = (
  method: string,
  path: string,
  options?: { token?: string | undefined; body?: unknown; key?: string; sidecar?: string | undefined },
) => Promise<Answer>;

/** Asks an API over real HTTP. */
export function caller(url: string): Call {
  return async (method, path, { token, body, key, sidecar } = {}) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(key !== undefined && { 'idempotency-key': key }),
        ...(sidecar && { 'dapr-api-token': sidecar }),
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

/** What an answer matches that is the problem `slug`. */
export const problem = (slug: string, status: number) => ({ status, body: expect.objectContaining({ slug, status }) });
