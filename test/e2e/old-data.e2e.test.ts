import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { Api } from '../../local/demo/api.ts';
import { playStory } from '../../local/story.ts';
import type { Running } from '../../local/supervisor/running.ts';
import { eventually } from '../support/eventually.ts';
import { checkOutLastRelease } from '../support/release.ts';
import { startStackWith, type TestStack } from '../support/stack.ts';
import { deliveryTotals, expectInvariants } from './invariants.ts';

const anna = { name: 'Anna', email: `anna.${randomUUID()}@example.com`, password: randomUUID() };

let folder: string;
let lastRelease: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'member-system-old-data-'));
  lastRelease = await checkOutLastRelease(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('data that the last release left at its end is used on', async () => {
  const data = join(folder, 'ended');
  await using last = await startStackWith({ tree: lastRelease, data });
  await playStory(await last.running(), () => undefined);
  await register(await last.running());
  expect(await last.interrupt()).toBe(0);
  await using stack = await startStackWith({ data });
  await expectUsedOn(stack);
});

test('data that a killed last release left, with unconfirmed messages, is used on', async () => {
  const data = join(folder, 'killed');
  await using last = await startStackWith({ tree: lastRelease, data });
  await playStory(await last.running(), () => undefined);
  for (const worker of ['publish-recorder', 'external-broadcaster'])
    expect(await last.script('stack.ts', 'stop', worker)).toMatchObject({ code: 0 });
  await register(await last.running());
  // They are sent again after five minutes only, so their delivery shows that the broker kept them.
  await eventually(async () => expect(await countUnconfirmed(await last.running())).toEqual({ waiting: 0, sent: 1 }));
  process.kill((await last.running()).supervisor.pid, 'SIGKILL');
  await last.interrupt();
  await using stack = await startStackWith({ data });
  expect(stack.output()).toMatch(/Stopped processes of a killed run: .*external-broadcaster/);
  await expectUsedOn(stack);
});

async function register({ memberUrl }: Running): Promise<void> {
  await new Api(memberUrl).post('/v1/members', anna);
}

/** Logs in the member of the last release, plays the story, and checks the invariants and that no attempt was spent. */
async function expectUsedOn(stack: TestStack): Promise<void> {
  const running = await stack.running();
  const { email, password } = anna;
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  // Encrypts values with the member's key, so the master key is the old one.
  await new Api(running.memberUrl).post('/v1/sessions', { email, password, device });
  await expectInvariants(running);
  await playStory(running, () => undefined);
  await expectInvariants(running);
  expect((await deliveryTotals(running)).attempts).toBe(0);
  for (const { restarts } of Object.values((await stack.running()).processes)) expect(restarts).toBe(0);
}

/** Counts the messages of the member system in its outbox, and those that were sent and are unconfirmed. */
async function countUnconfirmed({ databases }: Running): Promise<{ waiting: number; sent: number }> {
  const client = new Client(databases.member.readonly);
  await client.connect();
  try {
    const count = (table: string) => `(select count(*)::int from eventing.${table})`;
    const { rows } = await client.query(`select ${count('outbox')} as waiting, ${count('relayed')} as sent`);
    return rows[0];
  } finally {
    await client.end();
  }
}
