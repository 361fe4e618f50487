import type { AddressInfo } from 'node:net';
import type { Api } from '#http/http';
import { type ListenOptions, listen } from '#http/listen';
import type { Listener } from '#http/listeners';

/** The `APP_API_TOKEN` of test sidecars. */
export const SIDECAR = 'sidecar-token-0123456789';

/** Headers that a sidecar adds to an invocation. */
export const INVOKED = { 'dapr-api-token': SIDECAR, 'dapr-caller-app-id': 'another', 'dapr-callee-app-id': 'this' };

/** Opens all listeners of an API, each on a free port. @param limits of the public listener */
export async function openAll(api: Api, limits: Omit<ListenOptions, 'port' | 'host'> = {}) {
  const open = (name: Listener, more = {}) => listen(api[name], { port: 0, host: '127.0.0.1', ...more });
  const servers = {
    public: await open('public', limits),
    sidecar: await open('sidecar'),
    operations: await open('operations'),
  };
  const urlOf = (name: Listener) => `http://127.0.0.1:${(servers[name].address() as AddressInfo).port}`;
  return {
    servers,
    urls: { public: urlOf('public'), sidecar: urlOf('sidecar'), operations: urlOf('operations') },
    async [Symbol.asyncDispose]() {
      await Promise.all(Object.values(servers).map((server) => server[Symbol.asyncDispose]()));
    },
  };
}
