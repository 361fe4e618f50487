import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { endLeftovers } from '../../local/leftovers.ts';
import { lock } from '../../local/lock.ts';
import { identify } from '../../local/process-identity.ts';
import { type Running, type RunningProcess, readRunning, writeRunning } from '../../local/running.ts';
import { secretsOf } from '../../local/secrets.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from './folder.ts';

const lockModule = JSON.stringify(join(import.meta.dirname, '../../local/lock.ts'));

test('a data directory belongs to one supervisor, until that one ends, however it ends', async () => {
  await using folder = await temporaryFolder();
  const code = `import { lock } from ${lockModule}; lock(${JSON.stringify(folder.path)}); console.log('taken'); setInterval(() => {}, 1000)`;
  const other = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(other.stdout, 'data');
  expect(() => lock(folder.path)).toThrow(new RegExp(`is in use by the process ${other.pid}.*--data`));
  other.kill('SIGKILL');
  const mine = await eventually(() => lock(folder.path));
  mine[Symbol.dispose]();
  lock(folder.path)[Symbol.dispose]();
});

test('secrets are made once, and are for their owner only', async () => {
  await using folder = await temporaryFolder();
  const secrets = await secretsOf(folder.path);
  expect(Buffer.from(secrets.member.masterKey, 'base64')).toHaveLength(32);
  expect(await secretsOf(folder.path)).toEqual(secrets);
  expect(statSync(join(folder.path, 'secrets.json')).mode & 0o777).toBe(0o600);
});

const urls = { owner: 'o', app: 'a', relay: 'r', housekeeping: 'h', readonly: 'ro' };

function runningWith(processes: Record<string, RunningProcess>): Running {
  return {
    supervisor: { pid: process.pid, command: 'npm start', started: 'today' },
    startedAt: new Date().toISOString(),
    memberUrl: 'http://127.0.0.1:1',
    familyAccountUrl: 'http://127.0.0.1:2',
    memberOperatorToken: 'm',
    familyAccountOperatorToken: 'f',
    databases: { superuser: 's', member: urls, familyAccount: urls },
    brokerUrl: 'nats://127.0.0.1:3',
    processes,
  };
}

test('running.json says what runs, to its owner only', async () => {
  await using folder = await temporaryFolder();
  await expect(readRunning(folder.path)).rejects.toThrow('Nothing runs in');
  const running = runningWith({});
  writeRunning(folder.path, running);
  expect(await readRunning(folder.path)).toEqual(running);
  expect(statSync(join(folder.path, 'running.json')).mode & 0o777).toBe(0o600);
});

async function sleeper(): Promise<{ child: ChildProcess; seen: RunningProcess }> {
  const child = spawn('sleep', ['600']);
  await once(child, 'spawn');
  const { pid, started } = (await identify(child.pid!))!;
  const seen = { pid, started, command: 'in a namespace sleep 600', ports: {}, restarts: 0, log: '' };
  return { child, seen: { ...seen, stopSignal: 'SIGTERM', state: 'running' } };
}

test('what a killed supervisor has left is ended; a process that only has the same number is not', async () => {
  await using folder = await temporaryFolder();
  const [mine, another, older] = await Promise.all([sleeper(), sleeper(), sleeper()]);
  try {
    const processes = {
      mine: mine.seen,
      another: { ...another.seen, command: 'nats-server --config x' },
      older: { ...older.seen, started: '1 of another boot' },
    };
    writeRunning(folder.path, runningWith(processes));
    expect(await endLeftovers(folder.path)).toEqual(['mine']);
    expect([mine, another, older].map(({ child }) => child.signalCode)).toEqual(['SIGKILL', null, null]);
    expect(existsSync(join(folder.path, 'running.json'))).toBe(false);
    expect(await endLeftovers(folder.path)).toEqual([]);
  } finally {
    for (const { child } of [mine, another, older]) child.kill('SIGKILL');
  }
});

test('a damaged running.json does not keep the system from starting', async () => {
  await using folder = await temporaryFolder();
  writeRunning(folder.path, { ...runningWith({}), processes: undefined as never });
  expect(await endLeftovers(folder.path)).toEqual([]);
  expect(readFileSync(join(folder.path, 'running.json'), 'utf8')).toContain('memberUrl');
});
