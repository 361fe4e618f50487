// A process for the tests of run and listen. Its argument says what goes wrong; it writes a line of JSON for each thing that happens.
import Koa from 'koa';
import { common, readConfig } from '#service/config';
import { listen, run } from '#service/run';

const trouble = process.argv[2];
const say = (fields: object) => process.stdout.write(`${JSON.stringify(fields)}\n`);

const { DRAIN_SECONDS } = common;

await run('process', async ({ stack, onShutdown, drainWithin }) => {
  if (trouble === 'config') readConfig(common, { LOG_LEVEL: process.env.LOG_LEVEL });
  const { DRAIN_SECONDS: drainSeconds } = readConfig({ DRAIN_SECONDS });
  drainWithin(drainSeconds);
  stack.defer(() => void say({ closed: 'first' }));
  const server = stack.use(await listen(slowApp(), { port: 0, host: '127.0.0.1', drainSeconds }));
  stack.defer(() => void say({ closed: 'last' }));
  if (trouble === 'start') throw new Error('no database');
  if (trouble === 'hang') stack.defer(() => new Promise(() => undefined));
  onShutdown(() => void say({ step: 'readiness' }));
  if (trouble === 'rejection') void Promise.reject(new Error('nobody caught this'));
  say({ port: (server.address() as { port: number }).port });
});

/** Answers `/slow` at SIGUSR2, so that tests decide when a request ends. */
function slowApp(): Koa {
  const { promise, resolve } = Promise.withResolvers<void>();
  process.once('SIGUSR2', () => resolve());
  return new Koa().use(async (ctx) => {
    if (ctx.path === '/slow') {
      say({ began: 'slow' });
      await promise;
    }
    ctx.body = 'done';
  });
}
