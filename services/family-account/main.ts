import { join } from '#eventing/join';
import { readConfig } from '#service/config';
import { daprCheck, databaseCheck, Health } from '#service/health';
import { hear } from '#service/hear';
import { Idempotency } from '#service/idempotency';
import { leave } from '#service/leave';
import { listen, run } from '#service/run';
import { familyAccountApi } from './api.ts';
import { orderedConsumers } from './consumers.ts';
import { connect } from './database.ts';
import { eventsIn } from './events-in.ts';
import { memberClient } from './member-client.ts';
import { settings } from './settings.ts';
import { system } from './system.ts';

await run(system.name, async ({ stack, onShutdown, drainWithin, log }) => {
  const config = readConfig(settings);
  const { orm, keyring } = stack.use(await connect({ url: config.DATABASE_URL, masterKeys: config.MASTER_KEY }));
  const member = stack.use(
    memberClient({
      daprPort: config.DAPR_HTTP_PORT,
      daprApiToken: config.DAPR_API_TOKEN,
      appId: config.MEMBER_APP_ID,
      readerToken: config.MEMBER_READER_TOKEN,
    }),
  );
  const topics = eventsIn({ orm, keyring, member });
  for (const consumer of orderedConsumers) await join(orm, consumer, 'beginning');
  const health = new Health({ database: databaseCheck(orm), dapr: daprCheck({ port: config.DAPR_HTTP_PORT }) });
  drainWithin(config.DRAIN_SECONDS);
  const before = hear({ stack, log, orm, system, appId: system.name, topics, config });
  const operatorToken = config.OPERATOR_TOKEN;
  const root = await keyring.root(orm.em.fork());
  const idempotency = new Idempotency(root);
  stack.use(idempotency.forgetting(orm.em.fork(), log));
  const api = familyAccountApi({ orm, keyring, log, health, member, operatorToken, idempotency, before });
  const server = stack.use(
    await listen(api, { port: config.PORT, host: config.HOST, drainSeconds: config.DRAIN_SECONDS }),
  );
  onShutdown(() => leave({ health, server, config, log }));
  log.info(server.address(), 'listening');
});
