import { DaprPublisher } from '#eventing/dapr-publisher';
import { SidecarWatchdog } from '#eventing/sidecar-watchdog';
import { listen } from '#http/listen';
import { readConfig } from '#process/config';
import { createProbes, daprCheck, Health } from '#process/health';
import { run } from '#process/run';
import { Relay } from './relay.ts';
import { settings } from './settings.ts';

await run('relay', async ({ stack, onShutdown, closeWithin, log }) => {
  const config = readConfig(settings);
  const publisher = stack.use(
    new DaprPublisher({
      port: config.DAPR_HTTP_PORT,
      apiToken: config.DAPR_API_TOKEN,
      componentOf: (topic) => `${config.APP_ID}-${topic}`,
    }),
  );
  const sidecar = new SidecarWatchdog({
    port: config.DAPR_HTTP_PORT,
    apiToken: config.DAPR_API_TOKEN,
    brokers: config.BROKER_ADDRESS,
    stallMs: config.SUBSCRIPTION_STALL_SECONDS * 1000,
    log,
  });
  const dapr = daprCheck({ port: config.DAPR_HTTP_PORT });
  const relay = new Relay({
    databaseUrl: config.DATABASE_URL,
    publisher,
    sidecar,
    ready: dapr,
    resendAfterSeconds: config.RESEND_AFTER_SECONDS,
    log,
  });
  const health = new Health({ lease: () => relay.check(), dapr });
  onShutdown(() => health.markUnready());
  closeWithin(config.SHUTDOWN_TIMEOUT_SECONDS);
  stack.use(await listen(createProbes(health), { port: config.PORT, host: config.HOST }));
  stack.use(relay.start());
  log.info({ port: config.PORT }, 'listening');
});
