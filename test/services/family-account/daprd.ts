import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

export interface Invocation {
  readonly method: string;
  /** The path at the invoked app, such as `/v1/sessions/current`. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

export interface FakeDaprd extends AsyncDisposable {
  readonly port: number;
  readonly invocations: Invocation[];
}

/**
 * Starts a fake Dapr sidecar for service invocation. Its answers are those of a real daprd 1.18.1.
 * @param answer answers for the invoked app
 */
export async function startFakeDaprd(
  answer: (invocation: Invocation, response: ServerResponse) => void | Promise<void>,
  { appId = 'member', apiToken = 'token-of-the-sidecar', port = 0 } = {},
): Promise<FakeDaprd> {
  const invocations: Invocation[] = [];
  const prefix = `/v1.0/invoke/${appId}/method`;
  const server = createServer(async (request, response) => {
    const { method = '', url = '', headers } = request;
    if (url === '/v1.0/healthz/outbound') return void response.writeHead(204).end();
    // No token needed here: without metadata, the SDK would retry for half a minute before any other call.
    if (url === '/v1.0/metadata') return void response.end('{"id":"family-account"}');
    if (headers['dapr-api-token'] !== apiToken) return void response.writeHead(401).end('invalid api token\n');
    if (!url.startsWith(prefix)) return answerJson(response, 500, DIRECT_INVOKE);
    const body = method === 'POST' ? await json(request) : undefined;
    const invocation = { method, path: url.slice(prefix.length), headers, body };
    invocations.push(invocation);
    void Promise.resolve(answer(invocation, response)).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    invocations,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function answerJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** The answer of daprd when the app cannot be reached. */
export const DIRECT_INVOKE = {
  errorCode: 'ERR_DIRECT_INVOKE',
  message: 'failed to invoke, id: member, err: no host found with the given ID',
};
