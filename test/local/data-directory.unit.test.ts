import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lock } from '../../local/supervisor/lock.ts';
import { stopOrphans } from '../../local/supervisor/orphans.ts';
import { identify } from '../../local/supervisor/process-identity.ts';
import { type Running, type RunningProcess, readRunning, writeRunning } from '../../local/supervisor/running.ts';
import { brokerArguments } from '../../local/topology/broker.ts';
import { secretsOf } from '../../local/topology/secrets.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folder.ts';

const lockModule = JSON.stringify(join(import.meta.dirname, '../../local/supervisor/lock.ts'));

test('a data directory is locked by one supervisor until that ends, also by SIGKILL', async () => {
  await using folder = await temporaryFolder();
  const code = `import { lock } from ${lockModule}; globalThis.held = lock(${JSON.stringify(folder.path)}); console.log('taken'); setInterval(() => {}, 1000)`;
  const other = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(other.stdout, 'data');
  expect(() => lock(folder.path)).toThrow(new RegExp(`is in use by the process ${other.pid}.*--data`));
  other.kill('SIGKILL');
  const mine = await eventually(() => lock(folder.path));
  mine[Symbol.dispose]();
  lock(folder.path)[Symbol.dispose]();
});

test('secrets are created once and readable by their owner only', async () => {
  await using folder = await temporaryFolder();
  const secrets = await secretsOf(folder.path);
  expect(Buffer.from(secrets.member.masterKey, 'base64')).toHaveLength(32);
  expect(await secretsOf(folder.path)).toEqual(secrets);
  expect(statSync(join(folder.path, 'secrets.json')).mode & 0o777).toBe(0o600);
});

test('secrets from before the broker had users are kept and gain a password for each user', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'secrets.json');
  const { brokerPasswords, ...rest } = await secretsOf(folder.path);
  expect(Object.keys(brokerPasswords)).toEqual(expect.arrayContaining(['administrator', 'member', 'publish-recorder']));
  const old = { ...rest, brokerToken: 'of all sidecars' };
  writeFileSync(file, JSON.stringify(old));
  const secrets = await secretsOf(folder.path);
  expect(secrets).toMatchObject(old);
  expect(new Set(Object.values(secrets.brokerPasswords)).size).toBe(Object.keys(brokerPasswords).length);
  // A single user that was added later.
  const { member, ...others } = secrets.brokerPasswords;
  writeFileSync(file, JSON.stringify({ ...secrets, brokerPasswords: others }));
  const again = await secretsOf(folder.path);
  expect(again).toEqual({ ...secrets, brokerPasswords: { ...secrets.brokerPasswords, member: expect.any(String) } });
  expect(again.brokerPasswords.member).not.toBe(member);
  expect(await secretsOf(folder.path)).toEqual(again);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test('streams from before the broker had accounts are moved to the account events, once', async () => {
  await using folder = await temporaryFolder();
  const streams = (account: string) => join(folder.path, 'jetstream', account, 'streams');
  mkdirSync(streams('$G'), { recursive: true });
  for (let start = 0; start < 2; start++) {
    await brokerArguments(folder.path, 4222, []);
    expect([existsSync(streams('events')), existsSync(streams('$G'))]).toEqual([true, false]);
  }
});

test('unreadable secrets are not replaced', async () => {
  await using folder = await temporaryFolder();
  await secretsOf(folder.path);
  writeFileSync(join(folder.path, 'secrets.json'), '{ "member": ');
  await expect(secretsOf(folder.path)).rejects.toThrow('JSON');
  expect(readFileSync(join(folder.path, 'secrets.json'), 'utf8')).toBe('{ "member": ');
});

const urls = { owner: 'o', app: 'a', relay: 'r', housekeeping: 'h', readonly: 'ro' };

function runningWith(processes: Record<string, RunningProcess>): Running {
  return {
    supervisor: { pid: process.pid, command: 'npm start', started: 'today' },
    startedAt: new Date().toISOString(),
    memberUrl: 'http://127.0.0.1:1',
    familyAccountUrl: 'http://127.0.0.1:2',
    memberOperationsUrl: 'http://127.0.0.1:3',
    familyAccountOperationsUrl: 'http://127.0.0.1:4',
    memberOperatorToken: 'm',
    familyAccountOperatorToken: 'f',
    databases: { superuser: 's', member: urls, familyAccount: urls },
    brokerUrl: 'nats://127.0.0.1:3',
    processes,
  };
}

test('running.json lists what runs, readable by its owner only', async () => {
  await using folder = await temporaryFolder();
  await expect(readRunning(folder.path)).rejects.toThrow('Nothing runs in');
  const running = runningWith({});
  writeRunning(folder.path, running);
  expect(await readRunning(folder.path)).toEqual(running);
  expect(statSync(join(folder.path, 'running.json')).mode & 0o777).toBe(0o600);
});

async function startSleeper(): Promise<{ child: ChildProcess; recorded: RunningProcess }> {
  const child = spawn('sleep', ['600']);
  await once(child, 'spawn');
  const { pid, started } = (await identify(child.pid!))!;
  const recorded = { pid, started, command: 'in a namespace sleep 600', ports: {}, restarts: 0, log: '' };
  return { child, recorded: { ...recorded, stopSignal: 'SIGTERM', state: 'running' } };
}

test('orphans of a killed supervisor are ended, other processes with their ids are not', async () => {
  await using folder = await temporaryFolder();
  const [mine, another, older] = await Promise.all([startSleeper(), startSleeper(), startSleeper()]);
  try {
    const processes = {
      mine: mine.recorded,
      another: { ...another.recorded, command: 'nats-server --config x' },
      older: { ...older.recorded, started: '1 of another boot' },
    };
    writeRunning(folder.path, runningWith(processes));
    expect(await stopOrphans(folder.path)).toEqual(['mine']);
    const signals = () => [mine, another, older].map(({ child }) => child.signalCode);
    await eventually(() => expect(signals()).toEqual(['SIGKILL', null, null]));
    expect(existsSync(join(folder.path, 'running.json'))).toBe(false);
    expect(await stopOrphans(folder.path)).toEqual([]);
  } finally {
    for (const { child } of [mine, another, older]) child.kill('SIGKILL');
  }
});

test('a damaged running.json does not prevent a start', async () => {
  await using folder = await temporaryFolder();
  writeRunning(folder.path, { ...runningWith({}), processes: undefined as never });
  expect(await stopOrphans(folder.path)).toEqual([]);
  expect(readFileSync(join(folder.path, 'running.json'), 'utf8')).toContain('memberUrl');
});
