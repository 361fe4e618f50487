import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Api } from '../../local/demo/api.ts';
import { playStory } from '../../local/story.ts';
import { deliveryTotals, expectInvariants } from '../e2e/invariants.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith } from '../support/stack.ts';

/** Longer than the 60 connection attempts of JetStream's client, two seconds apart. */
const OUTAGE_MS = 150_000;

test('a broker outage beyond its clients’ retries costs no event, attempt, dead letter or error', async () => {
  await using stack = await startStackWith({ env: { SUBSCRIPTION_STALL_SECONDS: '10' } });
  const { supervisor, processes, memberUrl } = await stack.running();
  // The supervisor, which would restart the broker, is frozen.
  process.kill(supervisor.pid, 'SIGSTOP');
  try {
    process.kill(processes.broker!.pid, 'SIGKILL');
    const until = performance.now() + OUTAGE_MS;
    const api = new Api(memberUrl);
    while (performance.now() < until) {
      const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
      await api.post('/v1/members', { ...person, name: 'Anna' });
      await api.post('/v1/sessions', { ...person, device: { id: randomUUID(), name: 'phone', os: 'any' } });
      await delay(1_000);
    }
  } finally {
    process.kill(supervisor.pid, 'SIGCONT');
  }
  const running = await stack.running();
  expect((await deliveryTotals(running)).waiting).toBeGreaterThan(100);
  await eventually(async () => expect(await deliveryTotals(running)).toEqual({ attempts: 0, waiting: 0 }), {
    timeoutMs: 180_000,
  });
  await expectInvariants(running);
  await playStory(await stack.running(), () => undefined);
  await expectInvariants(running);
}, 600_000);
