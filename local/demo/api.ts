/** Any response but 2xx. */
export class ApiError extends Error {
  override name = 'ApiError';
}

/** Client of a public HTTP API: JSON bodies and a bearer token. */
export class Api {
  readonly #url: string;
  readonly #token: string | undefined;

  constructor(url: string, token?: string) {
    this.#url = url;
    this.#token = token;
  }

  /** Returns a client of the same API with another token. */
  as(token: string): Api {
    return new Api(this.#url, token);
  }

  // biome-ignore lint/suspicious/noExplicitAny: response types are in the OpenAPI description
  get = (path: string): Promise<any> => this.#call('GET', path);
  // biome-ignore lint/suspicious/noExplicitAny: as above
  post = (path: string, body?: object): Promise<any> => this.#call('POST', path, body);
  // biome-ignore lint/suspicious/noExplicitAny: as above
  patch = (path: string, body: object): Promise<any> => this.#call('PATCH', path, body);
  // biome-ignore lint/suspicious/noExplicitAny: as above
  put = (path: string, body: object): Promise<any> => this.#call('PUT', path, body);
  // biome-ignore lint/suspicious/noExplicitAny: as above
  delete = (path: string, body?: object): Promise<any> => this.#call('DELETE', path, body);

  /** @throws ApiError with status and body, for every response but 2xx */
  async #call(method: string, path: string, body?: object): Promise<unknown> {
    const headers: Record<string, string> = { accept: 'application/json' };
    if (this.#token) headers.authorization = `Bearer ${this.#token}`;
    if (body) headers['content-type'] = 'application/json';
    const signal = AbortSignal.timeout(15_000);
    const response = await fetch(this.#url + path, { method, headers, body: body && JSON.stringify(body), signal });
    const text = await response.text();
    if (!response.ok) throw new ApiError(`${method} ${path} answered ${response.status}: ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }
}
