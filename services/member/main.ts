import { SidecarReports } from '#eventing/subscribers';
import { readConfig } from '#service/config';
import { daprCheck, databaseCheck, Health } from '#service/health';
import { Idempotency } from '#service/idempotency';
import { leave } from '#service/leave';
import { listen, run } from '#service/run';
import { memberApi } from './api.ts';
import { connect } from './database.ts';
import { identityHasher } from './identities.ts';
import { LogInLimits } from './log-in-limits.ts';
import { portOneIdentityProvider } from './portone-identity-provider.ts';
import { settings } from './settings.ts';
import { system } from './system.ts';

await run(system.name, async ({ stack, onShutdown, drainWithin, log }) => {
  const config = readConfig(settings);
  const { orm, keyring } = stack.use(
    await connect({ url: config.DATABASE_URL, masterKeys: config.MASTER_KEY, channel: system.name }),
  );
  const sidecar = { port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN };
  stack.use(new SidecarReports({ orm, appId: system.name, ...sidecar }).start());
  const health = new Health({ database: databaseCheck(orm), dapr: daprCheck({ port: config.DAPR_HTTP_PORT }) });
  drainWithin(config.DRAIN_SECONDS);
  const root = await keyring.root(orm.em.fork());
  const idempotency = new Idempotency(root);
  stack.use(idempotency.forgetting(orm.em.fork(), log));
  const api = memberApi({
    orm,
    keyring,
    log,
    health,
    idempotency,
    trustProxy: config.TRUST_PROXY,
    operatorToken: config.OPERATOR_TOKEN,
    readerTokens: config.READER_TOKENS,
    limits: new LogInLimits(root),
    hashIdentity: identityHasher(root),
    provider: portOneIdentityProvider({ url: config.IDENTITY_PROVIDER_URL, secret: config.IDENTITY_PROVIDER_SECRET }),
  });
  const server = stack.use(
    await listen(api, { port: config.PORT, host: config.HOST, drainSeconds: config.DRAIN_SECONDS }),
  );
  onShutdown(() => leave({ health, server, config, log }));
  log.info({ port: config.PORT }, 'listening');
});
