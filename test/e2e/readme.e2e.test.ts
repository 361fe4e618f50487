import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { playStory } from '../../local/story.ts';
import type { Running } from '../../local/supervisor/running.ts';
import { workers } from '../../services/workers/workers.ts';
import { eventually } from '../support/eventually.ts';
import { logOf, startStackWith } from '../support/stack.ts';
import { countUnacknowledged, messagesOf } from './broker.ts';
import { expectInvariants } from './invariants.ts';
import { startWriteLog } from './write-log.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

/** Returns the commands of the README's table, in its order. */
async function readmeCommands(): Promise<string[]> {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const [table = ''] = readme.slice(readme.indexOf('| command |')).split('\n\n');
  return [...table.matchAll(/`(npm [^`]+)`/g)].map(([, command]) => command!);
}

/** Runs a command of the README, with the test's own data folder. */
async function runCommand(command: string, dataDir: string): Promise<string> {
  const [npm = 'npm', ...words] = command.split(' ');
  const args = words.includes('--') ? [...words, '--data', dataDir] : [...words, '--', '--data', dataDir];
  const { stdout } = await run(npm, args, { cwd: root, timeout: 150_000 });
  return stdout;
}

test('the README’s commands work as described', async () => {
  const commands = await readmeCommands();
  expect(commands).toEqual([
    'npm start -- --fresh',
    'npm start -- --once',
    'npm start -- --replicas 2',
    'npm run story',
    'npm run stack',
    'npm run stack -- kill member-relay',
    'npm test',
  ]);
  const dataDir = await mkdtemp(join(tmpdir(), 'member-system-readme-'));
  try {
    const once = await runCommand('npm start -- --once', dataDir);
    expect(once).toContain('member.identity-verification-released');
    expect(once).toContain('handled by family-account');
    const freshAndOnce = await runCommand('npm start -- --fresh --once --no-story', dataDir);
    expect(freshAndOnce).toContain('ready');
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

/** The events of one round of the story, with their counts, by the name of their aggregate. */
const story = {
  Anna: { 'member.registered': 1, 'member.identity-verified': 1, 'member.logged-in': 3, 'member.logged-out': 2 },
  Ben: {
    'member.registered': 1,
    'member.identity-verified': 1,
    'member.logged-in': 2,
    'member.logged-out': 1,
    'member.identity-verification-released': 1,
  },
  Home: {
    'family-account.opened': 1,
    'family-account.invitation-issued': 1,
    'family-account.member-joined': 2,
    'family-account.member-withdrawn': 1,
  },
};

test('two replicas of every process double no event and no effect, and each replica works', async () => {
  await using stack = await startStackWith({ env: { LOG_LEVEL: 'debug' } }, '--replicas', '2');
  const running = await stack.running();
  const { processes } = running;
  expect(Object.keys(processes)).toEqual(
    expect.arrayContaining([
      'member-2',
      'member-2-daprd',
      'member-2-relay',
      'external-broadcaster-2',
      'family-account-2',
    ]),
  );
  expect((await stack.script('stack.ts')).output).toMatch(/member-relay/);
  await using member = await openDatabase(running, 'member');
  await using families = await openDatabase(running, 'family_account');
  await member.sql(startWriteLog);
  const url = (name: string) => `http://127.0.0.1:${processes[name]!.ports.http}`;
  const silent = () => undefined;

  await playStory(running, silent);
  await playStory({ ...running, memberUrl: url('member-2'), familyAccountUrl: url('family-account-2') }, silent);
  expect((await stack.script('stack.ts', 'kill', 'member-relay')).code).toBe(0);
  const again = await stack.script('story.ts');
  expect(again.code).toBe(0);
  expect(again.output).toContain('member.identity-verification-released');
  // Only the second relays run.
  const relays = ['member-relay', 'family-account-relay'];
  for (const relay of relays)
    await eventually(async () => expect((await stack.script('stack.ts', 'stop', relay)).code).toBe(0));
  await playStory(running, silent);
  for (const relay of relays) expect((await stack.script('stack.ts', 'cont', relay)).code).toBe(0);
  const rounds = 4;
  await eventually(async () => expect(await countUnacknowledged(running.brokerUrl)).toBe(0));
  await expectInvariants(running);

  const eventCountsOf = ({ sql }: typeof member, owner: string) =>
    sql(`
      select name, jsonb_object_agg(event_type, n) as events
        from ${owner} o join (select aggregate_id, event_type, count(*) as n from eventing.event_store group by 1, 2) f
          on f.aggregate_id = o.id
       group by o.id, name order by name, min(o.id::text)`);
  const annas = Array.from({ length: rounds }, (_, round) => ({
    name: 'Anna',
    // Each round's Anna has the same phone, so the next round's login ends her session there.
    events: { ...story.Anna, 'member.logged-out': round < rounds - 1 ? 3 : 2 },
  }));
  const repeated = (name: 'Ben' | 'Home') => Array.from({ length: rounds }, () => ({ name, events: story[name] }));
  expect(await eventCountsOf(member, 'member')).toEqual([...annas, ...repeated('Ben')]);
  expect(await eventCountsOf(families, 'family_account')).toEqual(repeated('Home'));
  for (const written of ['login_record', 'public.written'])
    expect(
      await member.sql(`
        select name, count(*)::int as n from member join ${written} w on w.member_id = member.id group by id, name order by name`),
    ).toEqual([...annas.map(({ name }) => ({ name, n: 3 })), ...repeated('Ben').map(({ name }) => ({ name, n: 2 }))]);
  for (const [{ sql }, topic] of [
    [member, 'member-external'],
    [families, 'family-account-external'],
  ] as const) {
    const events = await sql('select id from eventing.event_store order by id');
    expect(await externalMessages(running, topic)).toEqual(events.map(({ id }) => ({ id, messages: 1 })));
  }

  // At this level a subscriber's log has a line for each delivery.
  const subscribers = [...Object.keys(workers), 'family-account'].flatMap((name) => [name, `${name}-2`]);
  for (const name of subscribers) {
    const delivered = /"method":"POST","route":"\/events\/[\w-]+","status":200/.test(await logOf(stack, name));
    expect({ name, delivered }).toEqual({ name, delivered: true });
  }
});

async function openDatabase({ databases }: Running, name: string) {
  const client = new Client({ connectionString: Object.assign(new URL(databases.superuser), { pathname: name }).href });
  await client.connect();
  return {
    sql: async (statement: string) => (await client.query(statement)).rows,
    [Symbol.asyncDispose]: () => client.end(),
  };
}

/** Counts the messages of a topic per event, in the order of event ids. A resent message counts once. */
async function externalMessages({ brokerUrl }: Running, of: string): Promise<{ id: string; messages: number }[]> {
  const envelopes = (await messagesOf(brokerUrl))
    .filter(({ topic }) => topic === of)
    .map(({ body }) => JSON.parse(body));
  const byEvent = Map.groupBy(envelopes, ({ eventid }) => eventid as string);
  return [...byEvent]
    .map(([id, all]) => ({ id, messages: new Set(all.map((envelope) => envelope.id)).size }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}
