import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { Api } from '../../local/demo/api.ts';
import { deliveryTotals, expectInvariants } from '../e2e/invariants.ts';
import { eventually } from '../support/eventually.ts';
import { logOf, startStackWith, type TestStack } from '../support/stack.ts';

const MINUTE = 60_000;
const [WARM_UP, WHOLE] = [3 * MINUTE, 10 * MINUTE];
/** For services, measured after garbage collection. A leak of 1 KB per request would be several times this. */
const TOLERATED_USED_MIB = 4;
/** For other programs, measured with their garbage. */
const TOLERATED_RESIDENT_MIB = 40;

/** Returns the memory of each process, by name. PostgreSQL is left out: its child processes share their memory. */
async function memory(stack: TestStack): Promise<Map<string, { mib: number; tolerated: number }>> {
  const { processes } = await stack.running();
  const measured = Object.entries(processes).filter(([name]) => name !== 'postgres');
  const measure = async ([name, { pid, command }]: (typeof measured)[number]) =>
    command.includes('services/')
      ? { mib: await usedMib(stack, name, pid), tolerated: TOLERATED_USED_MIB }
      : { mib: await residentMib(pid), tolerated: TOLERATED_RESIDENT_MIB };
  return new Map(await Promise.all(measured.map(async (it) => [it[0], await measure(it)] as const)));
}

async function usedMib(stack: TestStack, name: string, pid: number): Promise<number> {
  const reports = async () => {
    const log = await logOf(stack, name);
    return [...log.matchAll(/^memory in use: (\d+) bytes$/gm)].map(([, bytes]) => bytes);
  };
  const before = (await reports()).length;
  process.kill(pid, 'SIGUSR2');
  return eventually(async () => {
    const now = await reports();
    expect(now.length).toBeGreaterThan(before);
    return Number(now.at(-1)) / 1024 ** 2;
  });
}

async function residentMib(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', `${pid}`]);
  return Number(stdout) / 1024;
}

/**
 * Registers members and logs them in and out for a while, then waits until all events are handled.
 * @returns the number of rounds
 */
async function load(stack: TestStack, durationMs: number): Promise<number> {
  const running = await stack.running();
  const api = new Api(running.memberUrl);
  const until = performance.now() + durationMs;
  let rounds = 0;
  const round = async () => {
    const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
    const { id } = await api.post('/v1/members', { ...person, name: 'Anna' });
    const device = { id: randomUUID(), name: 'phone', os: 'any' };
    const { token } = await api.post('/v1/sessions', { ...person, device });
    await api.as(token).get(`/v1/members/${id}/login-records`);
    await api.as(token).delete('/v1/sessions/current');
    rounds++;
  };
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (performance.now() < until) await round();
    }),
  );
  await expectInvariants(running);
  expect((await deliveryTotals(running)).attempts).toBe(0);
  return rounds;
}

test(
  'ten minutes of load leave the memory of every process flat and every event handled',
  async () => {
    const reporter = pathToFileURL(join(import.meta.dirname, 'report-memory.ts')).href;
    await using stack = await startStackWith({ env: { NODE_OPTIONS: `--expose-gc --import ${reporter}` } });
    const baseline = await load(stack, WARM_UP).then(() => memory(stack));
    const rounds = await load(stack, WHOLE - WARM_UP);
    const current = await memory(stack);
    expect(rounds).toBeGreaterThan(1_000);
    const growth = [...current].map(([name, { mib, tolerated }]) => {
      const before = baseline.get(name)!.mib;
      return { name, before: Math.round(before), after: Math.round(mib), exceeds: mib - before > tolerated };
    });
    console.table(growth);
    expect(growth.filter(({ exceeds }) => exceeds)).toEqual([]);
  },
  15 * MINUTE,
);
