import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Api } from '../../local/api.ts';
import type { Running } from '../../local/running.ts';
import { deliveries, invariants } from '../e2e/invariants.ts';
import { startStack } from '../support/stack.ts';

const MINUTE = 60_000;
const [WARM_UP, WINDOW, WHOLE] = [3 * MINUTE, MINUTE, 10 * MINUTE];
/** Of a garbage collector's moods; a leak of a kilobyte per request would be several times that. */
const TOLERATED_MIB = 40;

/** Resident memory of each process, MiB. */
async function memory({ processes }: Running): Promise<Map<string, number>> {
  const pids = Object.values(processes).map(({ pid }) => pid);
  const { stdout } = await promisify(execFile)('ps', ['-o', 'pid=,rss=', '-p', pids.join(',')]);
  const byPid = new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number) as [number, number]),
  );
  // PostgreSQL's memory is its children's, and shared.
  const measured = Object.entries(processes).filter(([name]) => name !== 'postgres');
  return new Map(measured.map(([name, { pid }]) => [name, byPid.get(pid)! / 1024]));
}

/** The mean of what each process takes during the next minute. */
async function watch(running: Running): Promise<Map<string, number>> {
  const samples: Map<string, number>[] = [];
  for (const until = performance.now() + WINDOW; performance.now() < until; await delay(2_000))
    samples.push(await memory(running));
  const mean = (name: string) => samples.reduce((sum, sample) => sum + sample.get(name)!, 0) / samples.length;
  return new Map([...samples[0]!.keys()].map((name) => [name, mean(name)]));
}

test(
  'ten minutes under load leave the memory of every process flat, and nothing undone',
  async () => {
    await using stack = await startStack();
    const running = await stack.running();
    const api = new Api(running.memberUrl);
    const began = performance.now();
    let [busy, done] = [true, 0];
    const load = Array.from({ length: 8 }, async () => {
      for (; busy; done++) {
        const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
        const { id } = await api.post('/v1/members', { ...person, name: 'Somebody' });
        const device = { id: randomUUID(), name: 'phone', os: 'any' };
        const { token } = await api.post('/v1/sessions', { ...person, device });
        await api.as(token).get(`/v1/members/${id}/login-records`);
        await api.as(token).delete('/v1/sessions/current');
      }
    });
    await delay(WARM_UP);
    const early = await watch(running);
    await delay(Math.max(0, began + WHOLE - WINDOW - performance.now()));
    const late = await watch(running);
    busy = false;
    await Promise.all(load);
    expect(done).toBeGreaterThan(1_000);
    const grown = [...late].map(([name, mib]) => [name, Math.round(mib - early.get(name)!)] as const);
    expect(grown.filter(([, mib]) => mib > TOLERATED_MIB)).toEqual([]);
    await invariants(running);
    expect((await deliveries(running)).attempts).toBe(0);
  },
  15 * MINUTE,
);
