import { connect, system, workerSettings } from '#member';
import { readConfig } from '#service/config';
import { daprCheck, databaseCheck, Health } from '#service/health';
import { hear } from '#service/hear';
import { createApi } from '#service/http';
import { leave } from '#service/leave';
import { listen, run } from '#service/run';
import { findWorker } from './workers.ts';

await run(process.argv[2] ?? 'worker', async ({ stack, onShutdown, drainWithin, log }) => {
  const { name, worker } = findWorker(process.argv[2]);
  const config = readConfig(workerSettings);
  const { orm, keyring } = stack.use(
    // Few, since there are many workers and brokers hand over one delivery at a time or few.
    await connect({ url: config.DATABASE_URL, masterKeys: config.MASTER_KEY, channel: name, maxConnections: 4 }),
  );
  const health = new Health({ database: databaseCheck(orm), dapr: daprCheck({ port: config.DAPR_HTTP_PORT }) });
  drainWithin(config.DRAIN_SECONDS);
  const app = createApi({
    title: name,
    version: '1.0.0',
    description: 'A worker: it hears events and has no API of its own.',
    routes: [],
    before: hear({ stack, log, orm, system, appId: name, topics: worker({ orm, keyring }), config }),
    authenticate: async () => undefined,
    orm,
    log,
    health,
  });
  const server = stack.use(
    await listen(app, { port: config.PORT, host: config.HOST, drainSeconds: config.DRAIN_SECONDS }),
  );
  onShutdown(() => leave({ health, server, config, log }));
  log.info({ port: config.PORT }, 'listening');
});
