import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ManagedProcess, type ProcessSpec } from '../../local/managed-process.ts';
import { identify } from '../../local/process-identity.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from './folder.ts';

/** A process that does what `script` says, and then says that it works, by a file; unless `isMute`. */
async function start(script: string) {
  const folder = await temporaryFolder();
  const sign = join(folder.path, 'works');
  const lines: string[] = [];
  const code = `const fs = require('node:fs'); const sign = ${JSON.stringify(sign)}; let isMute = false; ${script}; if (!isMute) fs.writeFileSync(sign, '')`;
  const spec: ProcessSpec = {
    name: 'a-process',
    command: [process.execPath, '-e', code],
    ports: { http: 1 },
    says: 'works',
    isReady: async () => existsSync(sign),
  };
  const log = join(folder.path, 'log');
  const managed = new ManagedProcess(spec, { log, say: (line) => lines.push(line), changed: () => undefined });
  const ready = managed.start();
  return {
    managed,
    ready,
    sign,
    lines,
    log: () => readFileSync(log, 'utf8'),
    async [Symbol.asyncDispose]() {
      managed.kill();
      await managed.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const FOREVER = 'setInterval(() => {}, 1000);';

test('a process is ready when it says so, and ends in order', async () => {
  await using it = await start(`${FOREVER} process.once('SIGTERM', () => { console.log('ends'); process.exit(); })`);
  await it.ready;
  const { pid, state, restarts, ports } = it.managed.describe();
  expect({ state, restarts, ports }).toEqual({ state: 'running', restarts: 0, ports: { http: 1 } });
  await it.managed.stop();
  expect(it.managed.describe().state).toBe('ended');
  expect(it.log()).toBe('ends\n');
  expect(await identify(pid)).toBeUndefined();
});

test('a process that was killed is started again, and both is said', async () => {
  await using it = await start(FOREVER);
  await it.ready;
  const { pid } = it.managed.describe();
  rmSync(it.sign);
  process.kill(pid, 'SIGKILL');
  await eventually(() => it.managed.describe().state === 'running' && it.managed.describe().restarts === 1);
  expect(it.managed.describe().pid).not.toBe(pid);
  expect(it.lines).toEqual(['a-process has ended (SIGKILL) and is started again in 0.2 s', 'a-process is back']);
});

test('a process that keeps failing is started at longer and longer intervals, and its last words are passed on', async () => {
  await using it = await start("console.log('no such database'); process.exit(3)");
  it.ready.catch(() => undefined);
  await eventually(() => it.lines.length === 3);
  expect(it.lines).toEqual(
    ['0.2', '0.4', '0.8'].map(
      (pause) => `a-process has ended (exit 3: no such database) and is started again in ${pause} s`,
    ),
  );
});

test('a program that is not there is said so', async () => {
  const spec = { name: 'nothing', command: ['/no/such/program'], ports: {}, says: '', isReady: async () => true };
  const lines: string[] = [];
  const managed = new ManagedProcess(spec, {
    log: '/dev/null',
    say: (line) => lines.push(line),
    changed: () => undefined,
  });
  managed.start().catch(() => undefined);
  await eventually(() => lines.length > 0);
  await managed.stop();
  expect(lines[0]).toContain('/no/such/program ENOENT');
});

test('a frozen process ends in order as well', async () => {
  await using it = await start(`${FOREVER} process.once('SIGTERM', () => { console.log('ends'); process.exit(); })`);
  await it.ready;
  process.kill(it.managed.describe().pid, 'SIGSTOP');
  await it.managed.stop();
  expect(it.log()).toBe('ends\n');
});

test('one that does not listen to being told to end is killed when the user insists', async () => {
  await using it = await start(`${FOREVER} process.on('SIGTERM', () => { fs.writeFileSync(sign, 'told'); })`);
  await it.ready;
  const stopped = it.managed.stop();
  await eventually(() => readFileSync(it.sign, 'utf8') === 'told');
  it.managed.kill();
  await stopped;
  expect(it.managed.describe().state).toBe('ended');
});

test('a process that is stopped before it is ready was never ready', async () => {
  await using it = await start(`isMute = true; ${FOREVER}`);
  const ready = expect(it.ready).rejects.toThrow('a-process was stopped');
  await eventually(() => it.managed.describe().pid > 0);
  await it.managed.stop();
  await ready;
});

test('a process is given none of the environment but what every program needs', async () => {
  process.env.DAPR_API_TOKEN = 'of the caller';
  try {
    await using it = await start(`console.log(Object.keys(process.env).sort().join()); ${FOREVER}`);
    await it.ready;
    await eventually(() => it.log().endsWith('\n'));
    expect(it.log()).toContain('PATH');
    expect(it.log()).not.toContain('DAPR_API_TOKEN');
  } finally {
    delete process.env.DAPR_API_TOKEN;
  }
});

test('the log of a process is for its owner only', async () => {
  await using it = await start(FOREVER);
  await it.ready;
  writeFileSync(it.sign, '');
  const { log } = it.managed.describe();
  const { statSync } = await import('node:fs');
  expect(statSync(log).mode & 0o777).toBe(0o600);
});
