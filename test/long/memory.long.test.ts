import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { Api } from '../../local/api.ts';
import { deliveries, invariants } from '../e2e/invariants.ts';
import { eventually } from '../support/eventually.ts';
import { logOf, startStackWith, type TestStack } from '../support/stack.ts';

const MINUTE = 60_000;
const [WARM_UP, WHOLE] = [3 * MINUTE, 10 * MINUTE];
/** Of services: what they hold is asked with the garbage gone. A leak of a kilobyte per request would be several times that. */
const TOLERATED_HELD_MIB = 4;
/** Of other programs, whose garbage counts. */
const TOLERATED_RESIDENT_MIB = 40;

/** What each process holds, by its name. PostgreSQL is left out: its memory is its children's, and shared. */
async function memory(stack: TestStack): Promise<Map<string, { mib: number; tolerated: number }>> {
  const { processes } = await stack.running();
  const measured = Object.entries(processes).filter(([name]) => name !== 'postgres');
  const measure = async ([name, { pid, command }]: (typeof measured)[number]) =>
    command.includes('services/')
      ? { mib: await held(stack, name, pid), tolerated: TOLERATED_HELD_MIB }
      : { mib: await resident(pid), tolerated: TOLERATED_RESIDENT_MIB };
  return new Map(await Promise.all(measured.map(async (it) => [it[0], await measure(it)] as const)));
}

async function held(stack: TestStack, name: string, pid: number): Promise<number> {
  const told = async () => [...(await logOf(stack, name)).matchAll(/^holds (\d+) bytes$/gm)].map(([, bytes]) => bytes);
  const before = (await told()).length;
  process.kill(pid, 'SIGUSR2');
  return eventually(async () => {
    const now = await told();
    expect(now.length).toBeGreaterThan(before);
    return Number(now.at(-1)) / 1024 ** 2;
  });
}

async function resident(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', `${pid}`]);
  return Number(stdout) / 1024;
}

/** Members come, look and go for as long as told, and all that follows from it is done. */
async function load(stack: TestStack, durationMs: number): Promise<number> {
  const running = await stack.running();
  const api = new Api(running.memberUrl);
  const until = performance.now() + durationMs;
  let done = 0;
  const visit = async () => {
    const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
    const { id } = await api.post('/v1/members', { ...person, name: 'Somebody' });
    const device = { id: randomUUID(), name: 'phone', os: 'any' };
    const { token } = await api.post('/v1/sessions', { ...person, device });
    await api.as(token).get(`/v1/members/${id}/login-records`);
    await api.as(token).delete('/v1/sessions/current');
    done++;
  };
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (performance.now() < until) await visit();
    }),
  );
  await invariants(running);
  expect((await deliveries(running)).attempts).toBe(0);
  return done;
}

test(
  'ten minutes under load leave the memory of every process flat, and nothing undone',
  async () => {
    const tell = pathToFileURL(join(import.meta.dirname, 'tell-memory.ts')).href;
    await using stack = await startStackWith({ env: { NODE_OPTIONS: `--expose-gc --import ${tell}` } });
    const early = await load(stack, WARM_UP).then(() => memory(stack));
    const done = await load(stack, WHOLE - WARM_UP);
    const late = await memory(stack);
    expect(done).toBeGreaterThan(1_000);
    const grown = [...late].map(([name, { mib, tolerated }]) => {
      const before = early.get(name)!.mib;
      return { name, before: Math.round(before), after: Math.round(mib), tooMuch: mib - before > tolerated };
    });
    console.table(grown);
    expect(grown.filter(({ tooMuch }) => tooMuch)).toEqual([]);
  },
  15 * MINUTE,
);
