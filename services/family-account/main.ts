import { registerConsumer } from '#eventing/start-position';
import { subscribe } from '#eventing-host/subscribe';
import { Idempotency } from '#http/idempotency';
import { openListeners } from '#http/open';
import { readConfig } from '#process/config';
import { daprCheck, databaseCheck, Health } from '#process/health';
import { run } from '#process/run';
import { familyAccountApi } from './api.ts';
import { orderedConsumers } from './consumers.ts';
import { connect } from './database.ts';
import { eventsIn } from './events-in.ts';
import { memberClient } from './member-client.ts';
import { settings } from './settings.ts';
import { system } from './system.ts';

await run(system.name, async (context) => {
  const { stack, log } = context;
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
  for (const consumer of orderedConsumers) await registerConsumer(orm, consumer, 'beginning');
  const health = new Health({ database: databaseCheck(orm), dapr: daprCheck({ port: config.DAPR_HTTP_PORT }) });
  const deliveries = subscribe({ stack, log, orm, system, appId: system.name, topics, config });
  const root = await keyring.root(orm.em.fork());
  const idempotency = new Idempotency(root);
  stack.use(idempotency.startCleanup(orm.em.fork(), log));
  const api = familyAccountApi({
    orm,
    keyring,
    log,
    health,
    member,
    operatorToken: config.OPERATOR_TOKEN,
    appToken: config.APP_API_TOKEN,
    idempotency,
    trustProxy: config.TRUST_PROXY,
    deliveries,
  });
  await openListeners({ ...context, api, health, config });
});
