import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import type { Running } from '../../local/running.ts';
import { playStory } from '../../local/story.ts';
import { workers } from '../../services/workers/workers.ts';
import { eventually } from '../support/eventually.ts';
import { logOf, startStack } from '../support/stack.ts';
import { messagesOf, unacknowledged } from './broker.ts';
import { invariants } from './invariants.ts';
import { noteWrites } from './writes.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

/** The commands that the README's table tells people to type, in the order of the table. */
async function readmeCommands(): Promise<string[]> {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const [table = ''] = readme.slice(readme.indexOf('| command |')).split('\n\n');
  return [...table.matchAll(/`(npm [^`]+)`/g)].map(([, command]) => command!);
}

/** Types it as it stands there, in a data folder of the test's own. */
async function type(command: string, dataDir: string): Promise<string> {
  const [npm = 'npm', ...words] = command.split(' ');
  const args = words.includes('--') ? [...words, '--data', dataDir] : [...words, '--', '--data', dataDir];
  const { stdout } = await run(npm, args, { cwd: root, timeout: 150_000 });
  return stdout;
}

test('the README’s commands do what it says', async () => {
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
    const once = await type('npm start -- --once', dataDir);
    expect(once).toContain('member.identity-verification-released');
    expect(once).toContain('handled by family-account');
    const freshAndOnce = await type('npm start -- --fresh --once --no-story', dataDir);
    expect(freshAndOnce).toContain('ready');
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}, 240_000);

/** What one round of the story is about, and how often it states each fact of it. */
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

test('two replicas of everything double nothing, and each does its part', async () => {
  await using stack = await startStack('--replicas', '2');
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
  await member.sql(noteWrites);
  const url = (name: string) => `http://127.0.0.1:${processes[name]!.ports.http}`;
  const silent = () => undefined;

  await playStory(running, silent);
  await playStory({ ...running, memberUrl: url('member-2'), familyAccountUrl: url('family-account-2') }, silent);
  expect((await stack.script('stack.ts', 'kill', 'member-relay')).code).toBe(0);
  const again = await stack.script('story.ts');
  expect(again.code).toBe(0);
  expect(again.output).toContain('member.identity-verification-released');
  // The second relays alone.
  const relays = ['member-relay', 'family-account-relay'];
  for (const relay of relays)
    await eventually(async () => expect((await stack.script('stack.ts', 'stop', relay)).code).toBe(0));
  await playStory(running, silent);
  for (const relay of relays) expect((await stack.script('stack.ts', 'cont', relay)).code).toBe(0);
  const rounds = 4;
  await eventually(async () => expect(await unacknowledged(running.brokerUrl)).toBe(0), { timeoutMs: 40_000 });
  await invariants(running);

  const factsOf = ({ sql }: typeof member, owner: string) =>
    sql(`
      select name, jsonb_object_agg(event_type, n) as facts
        from ${owner} o join (select aggregate_id, event_type, count(*) as n from eventing.event_store group by 1, 2) f
          on f.aggregate_id = o.id
       group by o.id, name order by name, min(o.id::text)`);
  const annas = Array.from({ length: rounds }, (_, round) => ({
    name: 'Anna',
    // The Anna of each round has the same phone, and her session there is the one that the next round's supersedes.
    facts: { ...story.Anna, 'member.logged-out': round < rounds - 1 ? 3 : 2 },
  }));
  const times = (name: 'Ben' | 'Home') => Array.from({ length: rounds }, () => ({ name, facts: story[name] }));
  expect(await factsOf(member, 'member')).toEqual([...annas, ...times('Ben')]);
  expect(await factsOf(families, 'family_account')).toEqual(times('Home'));
  for (const written of ['login_record', 'public.written'])
    expect(
      await member.sql(`
        select name, count(*)::int as n from member join ${written} w on w.member_id = member.id group by id, name order by name`),
    ).toEqual([...annas.map(({ name }) => ({ name, n: 3 })), ...times('Ben').map(({ name }) => ({ name, n: 2 }))]);
  for (const [{ sql }, topic] of [
    [member, 'member-external'],
    [families, 'family-account-external'],
  ] as const) {
    const facts = await sql('select id from eventing.event_store order by id');
    expect(await externalMessages(running, topic)).toEqual(facts.map(({ id }) => ({ id, messages: 1 })));
  }

  // A hearer's log has a line for each delivery.
  const hearers = [...Object.keys(workers), 'family-account'].flatMap((name) => [name, `${name}-2`]);
  for (const name of hearers) {
    const delivered = /"method":"POST","route":"\/events\/[\w-]+","status":200/.test(await logOf(stack, name));
    expect({ name, delivered }).toEqual({ name, delivered: true });
  }
}, 300_000);

async function openDatabase({ databases }: Running, name: string) {
  const client = new Client({ connectionString: Object.assign(new URL(databases.superuser), { pathname: name }).href });
  await client.connect();
  return {
    sql: async (statement: string) => (await client.query(statement)).rows,
    [Symbol.asyncDispose]: () => client.end(),
  };
}

/** How many messages a topic has of each fact, in the order of their ids; one that was sent again is the same message. */
async function externalMessages({ brokerUrl }: Running, of: string): Promise<{ id: string; messages: number }[]> {
  const envelopes = (await messagesOf(brokerUrl))
    .filter(({ topic }) => topic === of)
    .map(({ body }) => JSON.parse(body));
  const byFact = Map.groupBy(envelopes, ({ eventid }) => eventid as string);
  return [...byFact]
    .map(([id, all]) => ({ id, messages: new Set(all.map((envelope) => envelope.id)).size }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}
