import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ManagedProcess, type ProcessSpec } from '../../../local/supervisor/managed-process.ts';
import { identify } from '../../../local/supervisor/process-identity.ts';
import { eventually } from '../../support/eventually.ts';
import { temporaryFolder } from '../../support/folder.ts';

/** Starts a process that runs `script` and then creates the file `readyFile`, unless the script sets `isNeverReady`. */
async function start(script: string) {
  const folder = await temporaryFolder();
  const readyFile = join(folder.path, 'works');
  const lines: string[] = [];
  const code = `const fs = require('node:fs'); const readyFile = ${JSON.stringify(readyFile)}; let isNeverReady = false; ${script}; if (!isNeverReady) fs.writeFileSync(readyFile, '')`;
  const spec: ProcessSpec = {
    name: 'a-process',
    command: [process.execPath, '-e', code],
    ports: { http: 1 },
    summary: 'works',
    isReady: async () => existsSync(readyFile),
  };
  const log = join(folder.path, 'log');
  const managed = new ManagedProcess(spec, { log, print: (line) => lines.push(line), changed: () => undefined });
  const ready = managed.start();
  return {
    managed,
    ready,
    readyFile,
    lines,
    log: () => readFileSync(log, 'utf8'),
    async [Symbol.asyncDispose]() {
      managed.kill();
      await managed.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const KEEP_RUNNING = 'setInterval(() => {}, 1000);';

test('a process is ready when its check passes, and stops gracefully', async () => {
  await using it = await start(
    `${KEEP_RUNNING} process.once('SIGTERM', () => { console.log('ends'); process.exit(); })`,
  );
  await it.ready;
  const { pid, state, restarts, ports } = it.managed.describe();
  expect({ state, restarts, ports }).toEqual({ state: 'running', restarts: 0, ports: { http: 1 } });
  await it.managed.stop();
  expect(it.managed.describe().state).toBe('ended');
  expect(it.log()).toBe('ends\n');
  expect(await identify(pid)).toBeUndefined();
});

test('a killed process is restarted, and both are reported', async () => {
  await using it = await start(KEEP_RUNNING);
  await it.ready;
  const { pid } = it.managed.describe();
  rmSync(it.readyFile);
  process.kill(pid, 'SIGKILL');
  await eventually(() => it.managed.describe().state === 'running' && it.managed.describe().restarts === 1);
  expect(it.managed.describe().pid).not.toBe(pid);
  expect(it.lines).toEqual(['a-process exited (SIGKILL), restarting in 0.2 s', 'a-process restarted']);
});

test('a failing process is restarted at growing intervals, with its last output reported', async () => {
  await using it = await start("console.log('no such database'); process.exit(3)");
  it.ready.catch(() => undefined);
  await eventually(() => it.lines.length === 3);
  expect(it.lines).toEqual(
    ['0.2', '0.4', '0.8'].map((pause) => `a-process exited (exit 3: no such database), restarting in ${pause} s`),
  );
});

test('a missing program is reported', async () => {
  const spec = { name: 'nothing', command: ['/no/such/program'], ports: {}, summary: '', isReady: async () => true };
  const lines: string[] = [];
  const managed = new ManagedProcess(spec, {
    log: '/dev/null',
    print: (line) => lines.push(line),
    changed: () => undefined,
  });
  managed.start().catch(() => undefined);
  await eventually(() => lines.length > 0);
  await managed.stop();
  expect(lines[0]).toContain('/no/such/program ENOENT');
});

test('a frozen process stops gracefully', async () => {
  await using it = await start(
    `${KEEP_RUNNING} process.once('SIGTERM', () => { console.log('ends'); process.exit(); })`,
  );
  await it.ready;
  process.kill(it.managed.describe().pid, 'SIGSTOP');
  await it.managed.stop();
  expect(it.log()).toBe('ends\n');
});

test('a process that ignores SIGTERM can be killed', async () => {
  await using it = await start(
    `${KEEP_RUNNING} process.on('SIGTERM', () => { fs.writeFileSync(readyFile, 'SIGTERM'); })`,
  );
  await it.ready;
  const stopped = it.managed.stop();
  await eventually(() => readFileSync(it.readyFile, 'utf8') === 'SIGTERM');
  it.managed.kill();
  await stopped;
  expect(it.managed.describe().state).toBe('ended');
});

test('a process that is stopped before it is ready fails to start', async () => {
  await using it = await start(`isNeverReady = true; ${KEEP_RUNNING}`);
  const ready = expect(it.ready).rejects.toThrow('a-process was stopped');
  await eventually(() => it.managed.describe().pid > 0);
  await it.managed.stop();
  await ready;
});

test('a process receives only the environment variables that every program needs', async () => {
  process.env.DAPR_API_TOKEN = 'of the caller';
  try {
    await using it = await start(`console.log(Object.keys(process.env).sort().join()); ${KEEP_RUNNING}`);
    await it.ready;
    await eventually(() => it.log().endsWith('\n'));
    expect(it.log()).toContain('PATH');
    expect(it.log()).not.toContain('DAPR_API_TOKEN');
  } finally {
    delete process.env.DAPR_API_TOKEN;
  }
});

test('the log of a process is readable by its owner only', async () => {
  await using it = await start(KEEP_RUNNING);
  await it.ready;
  writeFileSync(it.readyFile, '');
  const { log } = it.managed.describe();
  const { statSync } = await import('node:fs');
  expect(statSync(log).mode & 0o777).toBe(0o600);
});
