import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Api } from '../../local/api.ts';
import { playStory } from '../../local/story.ts';
import { deliveries, invariants } from '../e2e/invariants.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith } from '../support/stack.ts';

/** JetStream's client gives up after 60 attempts, two seconds apart. */
const OUTAGE_MS = 150_000;

test('a broker that is away for longer than its clients have patience costs no event, no attempt, no dead letter and no API error', async () => {
  await using stack = await startStackWith({ env: { SILENCE_SECONDS: '10' } });
  const { supervisor, processes, memberUrl } = await stack.running();
  // Nobody starts the broker again, as long as whoever would is frozen.
  process.kill(supervisor.pid, 'SIGSTOP');
  try {
    process.kill(processes.broker!.pid, 'SIGKILL');
    const until = performance.now() + OUTAGE_MS;
    const api = new Api(memberUrl);
    while (performance.now() < until) {
      const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
      await api.post('/v1/members', { ...person, name: 'Somebody' });
      await api.post('/v1/sessions', { ...person, device: { id: randomUUID(), name: 'phone', os: 'any' } });
      await delay(1_000);
    }
  } finally {
    process.kill(supervisor.pid, 'SIGCONT');
  }
  const running = await stack.running();
  expect((await deliveries(running)).waiting).toBeGreaterThan(100);
  await eventually(async () => expect(await deliveries(running)).toEqual({ attempts: 0, waiting: 0 }), {
    timeoutMs: 180_000,
  });
  await invariants(running);
  await playStory(await stack.running(), () => undefined);
  await invariants(running);
}, 600_000);
