// A process for the tests of run and listen. Its argument names the fault; each step is written as a line of JSON.
import Koa from 'koa';
import { listen } from '#http/listen';
import { common } from '#process/common-settings';
import { readConfig } from '#process/config';
import { run } from '#process/run';

const fault = process.argv[2];
const emit = (fields: object) => process.stdout.write(`${JSON.stringify(fields)}\n`);

const { SHUTDOWN_TIMEOUT_SECONDS } = common;

await run('process', async ({ stack, onShutdown, closeWithin }) => {
  if (fault === 'config') readConfig(common, { LOG_LEVEL: process.env.LOG_LEVEL });
  const { SHUTDOWN_TIMEOUT_SECONDS: shutdownTimeoutSeconds } = readConfig({ SHUTDOWN_TIMEOUT_SECONDS });
  closeWithin(shutdownTimeoutSeconds);
  stack.defer(() => void emit({ closed: 'first' }));
  const server = stack.use(await listen(slowApp(), { port: 0, host: '127.0.0.1', shutdownTimeoutSeconds }));
  stack.defer(() => void emit({ closed: 'last' }));
  if (fault === 'start') throw new Error('no database');
  if (fault === 'hang') stack.defer(() => new Promise(() => undefined));
  onShutdown(() => void emit({ step: 'readiness' }));
  if (fault === 'rejection') void Promise.reject(new Error('not caught'));
  emit({ port: (server.address() as { port: number }).port });
});

/** Creates an app that answers `/slow` on SIGUSR2, so that tests decide when a request ends. */
function slowApp(): Koa {
  const { promise, resolve } = Promise.withResolvers<void>();
  process.once('SIGUSR2', () => resolve());
  return new Koa().use(async (ctx) => {
    if (ctx.path === '/slow') {
      emit({ began: 'slow' });
      await promise;
    }
    ctx.body = 'done';
  });
}
