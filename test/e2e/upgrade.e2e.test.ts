import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { connect } from '#process/database';
import { deferBody } from '../../lib/eventing/inbox/deferred-bodies.ts';
import { playStory } from '../../local/story.ts';
import { checkOutLastRelease } from '../support/release.ts';
import { root, startStackWith, type TestStack } from '../support/stack.ts';
import { deliveryTotals, expectInvariants } from './invariants.ts';

const run = promisify(execFile);
const services = ['member', 'family-account'] as const;
const migration = (service: string) => `services/${service}/migrate.ts`;

let folder: string;
let lastRelease: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'member-system-upgrade-'));
  lastRelease = await checkOutLastRelease(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the last release’s code works on while our migrations run', async () => {
  await using stack = await startStackWith({ tree: lastRelease });
  await playStoryDuring(stack, () => migrate(stack, root));
});

test('the last release’s code does not touch bodies that our code has deferred', async () => {
  await using stack = await startStackWith({ tree: lastRelease });
  await migrate(stack, root);
  const { databases } = await stack.running();
  const orm = await connect({ url: databases.member.app });
  try {
    const failure = { error: new Error('it cannot be read'), maxAttempts: 20, backoffMs: 1 };
    for (const appId of ['publish-recorder', 'device-login-recorder', 'external-broadcaster'])
      await deferBody(orm, { appId, topic: 'member-internal', raw: '{' }, failure);
    await playStory(await stack.running(), () => undefined);
    const selectDeferred = 'select state, attempts from eventing.kept_delivery';
    const unchanged = { state: 'failing', attempts: 1 };
    expect(await orm.em.getConnection().execute(selectDeferred)).toEqual([unchanged, unchanged, unchanged]);
  } finally {
    await orm.close();
  }
  for (const { restarts } of Object.values((await stack.running()).processes)) expect(restarts).toBe(0);
});

test('our code works on the last release’s schema, and while ours and later migrations run', async () => {
  const withoutMigrations = join(folder, 'without-migrations');
  await copyOf(root, withoutMigrations);
  for (const service of services)
    await writeFile(
      join(withoutMigrations, migration(service)),
      `await import('${join(lastRelease, migration(service))}');\n`,
    );
  await using stack = await startStackWith({ tree: withoutMigrations });
  await playStoryDuring(stack, async () => undefined);
  await playStoryDuring(stack, async () => {
    await migrate(stack, root);
    await addToAllTables(stack);
  });
});

/** Plays the story with a change in the middle of it, and checks the invariants and that no attempt was spent. */
async function playStoryDuring(stack: TestStack, change: () => Promise<void>): Promise<void> {
  const running = await stack.running();
  let [lines, changed] = [0, Promise.resolve()];
  await playStory(running, () => {
    if (++lines === 3) changed = change();
  });
  await changed;
  // Each connection has run its statements before the change, and runs them again after it.
  await playStory(running, () => undefined);
  await expectInvariants(running);
  expect((await deliveryTotals(running)).attempts).toBe(0);
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

/** Makes the largest change that a migration may make: adds a column to every table. */
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
  const excluded = ['node_modules', '.git', '.data'];
  await cp(tree, target, { recursive: true, filter: (path) => !excluded.includes(relative(tree, path)) });
  await symlink(join(tree, 'node_modules'), join(target, 'node_modules'));
}
