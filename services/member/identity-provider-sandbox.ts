import { listen } from '#http/listen';
import { readConfig } from '#process/config';
import { run } from '#process/run';
import { portOneSandbox } from './sandbox/portone.ts';
import { sandboxSettings } from './settings.ts';

await run('identity-provider-sandbox', async ({ stack, onShutdown, log }) => {
  const config = readConfig(sandboxSettings);
  const stopping = new AbortController();
  onShutdown(() => stopping.abort());
  const sandbox = portOneSandbox(config.IDENTITY_PROVIDER_SECRET, stopping.signal);
  stack.use(await listen(sandbox, { port: config.PORT, host: config.HOST }));
  log.info({ port: config.PORT }, 'listening');
});
