import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { eventually } from '../../support/eventually.ts';

const program = fileURLToPath(new URL('process.ts', import.meta.url));

function start(fault = 'none', more: Record<string, string> = {}) {
  const env = { ...process.env, ...more, LOG_LEVEL: fault === 'config' ? 'loud' : 'info' };
  const child = spawn(process.execPath, [program, fault], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  child.stdout.on('data', (data) => {
    out += data;
  });
  const lines = () =>
    out
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const emitted = (key: string) =>
    eventually(() => {
      const line = lines().find((each) => key in each);
      return line ?? Promise.reject(new Error(`no line with ${key}`));
    });
  const ended = Promise.all([once(child, 'close'), text(child.stderr)]).then(([[code], err]) => ({ code, err }));
  return { child, lines, emitted, ended };
}

/** Sends a request over a kept-alive connection, as a proxy does. @returns the response's `Connection` header */
async function send(port: unknown, path: string, agent: Agent): Promise<string | undefined> {
  const outgoing = request({ port: Number(port), path, agent }).end();
  const [response] = await once(outgoing, 'response');
  response.resume();
  return response.headers.connection;
}

test('a process stopped by SIGTERM finishes its requests, closes in reverse order and exits 0', async () => {
  const { child, lines, emitted, ended } = start();
  const idle = new Agent({ keepAlive: true });
  const busy = new Agent({ keepAlive: true });
  const { port } = await emitted('port');
  expect(await send(port, '/', idle)).toBe('keep-alive');
  const slow = send(port, '/slow', busy);
  await emitted('began');
  child.kill('SIGTERM');
  await emitted('step');
  await eventually(() => expect(send(port, '/', idle)).rejects.toMatchObject({ code: 'ECONNREFUSED' }));
  child.kill('SIGUSR2');
  await slow;
  expect(await ended).toEqual({ code: 0, err: '' });
  expect(lines().flatMap(({ step, closed }) => step ?? closed ?? [])).toEqual(['readiness', 'last', 'first']);
  for (const agent of [idle, busy]) agent.destroy();
});

test('a request that outlasts half the shutdown timeout is cut off; the rest closes in order', async () => {
  const { child, lines, emitted, ended } = start('none', { SHUTDOWN_TIMEOUT_SECONDS: '2' });
  const { port } = await emitted('port');
  const slow = send(port, '/slow', new Agent());
  await emitted('began');
  child.kill('SIGTERM');
  await expect(slow).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(await ended).toEqual({ code: 0, err: '' });
  expect(lines().flatMap(({ closed }) => closed ?? [])).toEqual(['last', 'first']);
});

test('a process that does not close ends at the shutdown timeout and logs that', async () => {
  const { child, lines, emitted, ended } = start('hang', { SHUTDOWN_TIMEOUT_SECONDS: '1' });
  await emitted('port');
  child.kill('SIGTERM');
  await emitted('step');
  const began = performance.now();
  expect(await ended).toMatchObject({ code: 1 });
  // The default is twenty seconds.
  expect(performance.now() - began).toBeLessThan(15_000);
  expect(lines().at(-1)).toMatchObject({ level: 60, err: { message: 'The shutdown exceeded its timeout' } });
});

test('a second signal ends a process that does not shut down', async () => {
  const { child, emitted, ended } = start('hang');
  await emitted('port');
  child.kill('SIGINT');
  await emitted('step');
  child.kill('SIGINT');
  expect(await ended).toMatchObject({ code: 1 });
});

test('a process without its settings prints which are missing and nothing else', async () => {
  const { code, err } = await start('config').ended;
  expect(code).toBe(1);
  expect(err).toMatch(/^\d settings are missing or wrong/);
  expect(err).toContain('DATABASE_URL is not set');
  expect(err).toContain('LOG_LEVEL "loud" is wrong');
  expect(err).not.toContain(' at ');
});

test('a process that fails to start logs the reason and closes what it opened', async () => {
  const { ended, lines } = start('start');
  expect(await ended).toEqual({ code: 1, err: '' });
  expect(lines().map(({ closed, msg }) => closed ?? msg)).toEqual(['could not start: no database', 'last', 'first']);
});

test('an unhandled rejection is logged and ends the process', async () => {
  const { ended, lines } = start('rejection');
  expect(await ended).toEqual({ code: 1, err: '' });
  expect(lines().at(-1)).toMatchObject({ level: 60, err: { message: 'not caught' } });
});
