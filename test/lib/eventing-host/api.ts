import type { Consumer } from '#eventing/consumer';
import { operatorRoutes } from '#eventing-host/operator-routes';
import { topicRoutes } from '#eventing-host/topic-routes';
import { createApi } from '#http/http';
import { Health } from '#process/health';
import { createLog } from '#process/log';
import { caller } from '../../support/call.ts';
import { openAll, SIDECAR } from '../../support/listeners.ts';
import { Lamp, lamps, openFixture } from '../eventing/fixture.ts';

export const failing: Consumer = {
  name: 'failing',
  order: 'ordered',
  types: 'all',
  handle: async () => {
    throw new Error('no');
  },
};

/** Starts an API with the operator and topic routes of the lamp system, with its own database. */
export async function startLampApi() {
  const fixture = await openFixture();
  const app = createApi({
    title: 'Lamps',
    version: '1',
    description: 'Lamps',
    routes: [
      ...operatorRoutes({
        keyring: fixture.keyring,
        system: lamps,
        consumers: [failing],
        broadcaster: { name: 'broadcaster' },
      }),
      ...topicRoutes(lamps),
    ],
    log: createLog('lamps', 'fatal'),
    orm: fixture.orm,
    authenticate: async (token) =>
      token === 'operator' ? { kind: 'operator' } : token === 'reader' ? { kind: 'reader', name: 'x' } : undefined,
    health: new Health({}),
    appToken: SIDECAR,
  });
  const opened = await openAll(app);
  const call = caller(opened.urls, { operator: 'operations', reader: 'sidecar' });
  return {
    fixture,
    call,
    async request(method: string, path: string, token = 'operator', sent?: object) {
      const { status, body } = await call(method, path, { token, body: sent });
      return { status, body };
    },
    async inspectedLamp(): Promise<Lamp> {
      const em = fixture.orm.em.fork();
      const lamp = Lamp.install('hall');
      lamp.inspect('it flickered');
      em.persist(lamp);
      await em.flush();
      return lamp;
    },
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await fixture[Symbol.asyncDispose]();
    },
  };
}

export type LampApi = Awaited<ReturnType<typeof startLampApi>>;
