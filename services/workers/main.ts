import { subscribe } from '#eventing-host/subscribe';
import { createApi } from '#http/http';
import { openListeners } from '#http/open';
import { connect, system, workerSettings } from '#member';
import { readConfig } from '#process/config';
import { daprCheck, databaseCheck, Health } from '#process/health';
import { run } from '#process/run';
import { findWorker } from './workers.ts';

await run(process.argv[2] ?? 'worker', async (context) => {
  const { stack, log } = context;
  const { name, worker } = findWorker(process.argv[2]);
  const config = readConfig(workerSettings);
  const { orm, keyring } = stack.use(
    // Few connections: there are many workers, and brokers deliver few messages at a time.
    await connect({ url: config.DATABASE_URL, masterKeys: config.MASTER_KEY, program: name, maxConnections: 4 }),
  );
  const health = new Health({ database: databaseCheck(orm), dapr: daprCheck({ port: config.DAPR_HTTP_PORT }) });
  const api = createApi({
    title: name,
    version: '1.0.0',
    description: 'A worker: receives events, has no API of its own.',
    routes: [],
    deliveries: subscribe({ stack, log, orm, system, appId: name, topics: worker({ orm, keyring }), config }),
    authenticate: async () => undefined,
    appToken: config.APP_API_TOKEN,
    orm,
    log,
    health,
  });
  await openListeners({ ...context, api, health, config });
});
