import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { eventually } from '../../support/eventually.ts';

const program = fileURLToPath(new URL('process.ts', import.meta.url));

function start(trouble = 'none', more: Record<string, string> = {}) {
  const env = { ...process.env, ...more, LOG_LEVEL: trouble === 'config' ? 'loud' : 'info' };
  const child = spawn(process.execPath, [program, trouble], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  child.stdout.on('data', (data) => {
    out += data;
  });
  const lines = () =>
    out
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const said = (key: string) =>
    eventually(() => {
      const line = lines().find((each) => key in each);
      return line ?? Promise.reject(new Error(`nothing said of ${key}`));
    });
  const ended = Promise.all([once(child, 'close'), text(child.stderr)]).then(([[code], err]) => ({ code, err }));
  return { child, lines, said, ended };
}

/** Asks over a kept connection, as a proxy does; tells the answer's `Connection` header. */
async function ask(port: unknown, path: string, agent: Agent): Promise<string | undefined> {
  const outgoing = request({ port: Number(port), path, agent }).end();
  const [response] = await once(outgoing, 'response');
  response.resume();
  return response.headers.connection;
}

test('told to stop, a process first says so, lets running requests finish, closes in reverse order and exits 0', async () => {
  const { child, lines, said, ended } = start();
  const idle = new Agent({ keepAlive: true });
  const busy = new Agent({ keepAlive: true });
  const { port } = await said('port');
  expect(await ask(port, '/', idle)).toBe('keep-alive');
  const slow = ask(port, '/slow', busy);
  await said('began');
  child.kill('SIGTERM');
  await said('step');
  await eventually(() => expect(ask(port, '/', idle)).rejects.toMatchObject({ code: 'ECONNREFUSED' }));
  child.kill('SIGUSR2');
  await slow;
  expect(await ended).toEqual({ code: 0, err: '' });
  expect(lines().flatMap(({ step, closed }) => step ?? closed ?? [])).toEqual(['readiness', 'last', 'first']);
  for (const agent of [idle, busy]) agent.destroy();
});

test('a request that takes longer than half of the time to drain is cut off, and all else still closes in order', async () => {
  const { child, lines, said, ended } = start('none', { DRAIN_SECONDS: '2' });
  const { port } = await said('port');
  const slow = ask(port, '/slow', new Agent());
  await said('began');
  child.kill('SIGTERM');
  await expect(slow).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(await ended).toEqual({ code: 0, err: '' });
  expect(lines().flatMap(({ closed }) => closed ?? [])).toEqual(['last', 'first']);
});

test('a process that does not close ends when its time to drain is over, and says so', async () => {
  const { child, lines, said, ended } = start('hang', { DRAIN_SECONDS: '1' });
  await said('port');
  child.kill('SIGTERM');
  await said('step');
  const began = performance.now();
  expect(await ended).toMatchObject({ code: 1 });
  // By itself it would take twenty.
  expect(performance.now() - began).toBeLessThan(15_000);
  expect(lines().at(-1)).toMatchObject({ level: 60, err: { message: 'The shutdown takes too long' } });
});

test('a second signal ends a process that does not come to an end', async () => {
  const { child, said, ended } = start('hang');
  await said('port');
  child.kill('SIGINT');
  await said('step');
  child.kill('SIGINT');
  expect(await ended).toMatchObject({ code: 1 });
});

test('a process that is not configured says what is missing and nothing else', async () => {
  const { code, err } = await start('config').ended;
  expect(code).toBe(1);
  expect(err).toMatch(/^\d settings are missing or wrong/);
  expect(err).toContain('DATABASE_URL is not set');
  expect(err).toContain('LOG_LEVEL "loud" is wrong');
  expect(err).not.toContain(' at ');
});

test('a process that cannot start says why, and closes what it had opened', async () => {
  const { ended, lines } = start('start');
  expect(await ended).toEqual({ code: 1, err: '' });
  expect(lines().map(({ closed, msg }) => closed ?? msg)).toEqual(['could not start: no database', 'last', 'first']);
});

test('an error that nobody handles is logged and ends the process', async () => {
  const { ended, lines } = start('rejection');
  expect(await ended).toEqual({ code: 1, err: '' });
  expect(lines().at(-1)).toMatchObject({ level: 60, err: { message: 'nobody caught this' } });
});
