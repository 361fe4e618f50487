import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { playStory } from '../../local/story.ts';
import { checkOut, LAST_RELEASE } from '../support/release.ts';
import { root, startStackWith, type TestStack } from '../support/stack.ts';
import { deliveries, invariants } from './invariants.ts';

const run = promisify(execFile);
const services = ['member', 'family-account'] as const;
const migration = (service: string) => `services/${service}/migrate.ts`;

let folder: string;
let lastRelease: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'member-system-upgrade-'));
  lastRelease = await checkOut(LAST_RELEASE, join(folder, 'last-release'));
  await symlink(join(root, 'node_modules'), join(lastRelease, 'node_modules'));
}, 30_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the code of the last release goes on while our migrations run under it', async () => {
  await using stack = await startStackWith({ tree: lastRelease });
  await playStoryDuring(stack, () => migrate(stack, root));
}, 180_000);

test('our code works on the schema of the last release, and goes on while our migrations run, and those of a release to come', async () => {
  const early = join(folder, 'this-before-its-migrations');
  await copyOf(root, early);
  for (const service of services)
    await writeFile(join(early, migration(service)), `await import('${join(lastRelease, migration(service))}');\n`);
  await using stack = await startStackWith({ tree: early });
  await playStoryDuring(stack, async () => undefined);
  await playStoryDuring(stack, async () => {
    await migrate(stack, root);
    await addToAllTables(stack);
  });
}, 180_000);

/** Everything comes true, although something happens half-way, and costs no attempt. */
async function playStoryDuring(stack: TestStack, happens: () => Promise<void>): Promise<void> {
  const running = await stack.running();
  let [lines, happened] = [0, Promise.resolve()];
  await playStory(running, () => {
    if (++lines === 3) happened = happens();
  });
  await happened;
  // Each connection has seen the statements before the change, and now sees them after it.
  await playStory(running, () => undefined);
  await invariants(running);
  expect((await deliveries(running)).attempts).toBe(0);
}

/** Runs the migrations of a tree. */
async function migrate(stack: TestStack, tree: string): Promise<void> {
  const { databases } = await stack.running();
  const owners = { member: databases.member.owner, 'family-account': databases.familyAccount.owner };
  for (const service of services)
    await run(process.execPath, [migration(service)], {
      cwd: tree,
      env: { ...process.env, DATABASE_URL: owners[service] },
    });
}

/** The greatest change that a migration may make: something more everywhere. */
async function addToAllTables(stack: TestStack): Promise<void> {
  const { databases } = await stack.running();
  for (const { owner } of [databases.member, databases.familyAccount]) {
    const client = new Client({ connectionString: owner, lock_timeout: 10_000 });
    await client.connect();
    try {
      const { rows } = await client.query<{ name: string }>(
        `select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'p') and not c.relispartition and n.nspname in ('public', 'eventing') and c.relname <> 'migration'`,
      );
      expect(rows.length).toBeGreaterThan(5);
      for (const { name } of rows)
        await client.query(`alter table ${name} add column of_a_release_to_come text not null default 'unknown'`);
    } finally {
      await client.end();
    }
  }
}

async function copyOf(tree: string, target: string): Promise<void> {
  const left = ['node_modules', '.git', '.data'];
  await cp(tree, target, { recursive: true, filter: (path) => !left.includes(relative(tree, path)) });
  await symlink(join(tree, 'node_modules'), join(target, 'node_modules'));
}
