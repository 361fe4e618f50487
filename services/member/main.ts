import { SidecarStatusReporter } from '#eventing/subscriber-status';
import { Idempotency } from '#http/idempotency';
import { openListeners } from '#http/open';
import { readConfig } from '#process/config';
import { daprCheck, databaseCheck, Health } from '#process/health';
import { run } from '#process/run';
import { memberApi } from './api.ts';
import { connect } from './database.ts';
import { identityHasher } from './identity-hash.ts';
import { LoginThrottle } from './login-throttle.ts';
import { portOneIdentityProvider } from './portone-identity-provider.ts';
import { settings } from './settings.ts';
import { system } from './system.ts';

await run(system.name, async (context) => {
  const { stack, log } = context;
  const config = readConfig(settings);
  const { orm, keyring } = stack.use(
    await connect({ url: config.DATABASE_URL, masterKeys: config.MASTER_KEY, program: system.name }),
  );
  const sidecar = { port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN };
  stack.use(new SidecarStatusReporter({ orm, appId: system.name, ...sidecar }).start());
  const health = new Health({ database: databaseCheck(orm), dapr: daprCheck({ port: config.DAPR_HTTP_PORT }) });
  const root = await keyring.root(orm.em.fork());
  const idempotency = new Idempotency(root);
  stack.use(idempotency.startCleanup(orm.em.fork(), log));
  const api = memberApi({
    orm,
    keyring,
    log,
    health,
    idempotency,
    trustProxy: config.TRUST_PROXY,
    appToken: config.APP_API_TOKEN,
    operatorToken: config.OPERATOR_TOKEN,
    readerTokens: config.READER_TOKENS,
    limits: new LoginThrottle(root),
    hashIdentity: identityHasher(root),
    provider: portOneIdentityProvider({ url: config.IDENTITY_PROVIDER_URL, secret: config.IDENTITY_PROVIDER_SECRET }),
  });
  await openListeners({ ...context, api, health, config });
});
