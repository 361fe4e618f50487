import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { secretsOf } from '../../local/topology/secrets.ts';
import { eventually } from '../support/eventually.ts';
import { snapshot } from '../support/snapshot.ts';
import { root, type TestStack } from '../support/stack.ts';

const systems = [
  { service: 'member', database: 'member', key: 'member' },
  { service: 'family-account', database: 'family_account', key: 'familyAccount' },
] as const;
type System = (typeof systems)[number];

/** Backs up both databases of a system. `restore` takes the same steps as an operator. */
export async function backUpDatabases(stack: TestStack): Promise<{ restore(): Promise<void> } & AsyncDisposable> {
  const running = await stack.running();
  const open = async ({ database }: System) => {
    const client = new Client(Object.assign(new URL(running.databases.superuser), { pathname: `/${database}` }).href);
    await client.connect();
    return { client, restoreDatabase: await snapshot((text) => client.query(text)) };
  };
  const backups = await Promise.all(systems.map(open));
  const control = async (verb: string) => {
    const { processes } = await stack.running();
    const programs = Object.keys(processes).filter((name) =>
      /^(member|family-account|.*-(relay|recorder|broadcaster|logout))$/.test(name),
    );
    expect(programs).toHaveLength(9);
    for (const name of programs) expect(await stack.script('stack.ts', verb, name)).toMatchObject({ code: 0 });
  };
  return {
    async restore() {
      // No process of the systems is active: frozen ones are killed before they can continue.
      await control('stop');
      for (const { client, restoreDatabase } of backups) {
        await client.query(
          'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
        );
        await restoreDatabase();
      }
      for (const system of systems) await runRestore(stack, system);
      await control('kill');
      await eventually(async () => {
        const { processes } = await stack.running();
        expect(Object.values(processes).filter(({ state }) => state !== 'running')).toEqual([]);
      });
    },
    async [Symbol.asyncDispose]() {
      for (const { client } of backups) await client.end();
    },
  };
}

/** Runs the restore command twice; the second run has nothing to do. */
async function runRestore(stack: TestStack, { service, key }: System): Promise<void> {
  const running = await stack.running();
  const env = {
    ...process.env,
    DATABASE_URL: running.databases[key].app,
    MASTER_KEY: (await secretsOf(stack.dataDir))[key].masterKey,
    NATS_URL: running.brokerUrl,
  };
  const restore = async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [join('services', service, 'restore.ts')], {
      cwd: root,
      env,
    });
    return JSON.parse(stdout.trim().split('\n').at(-1)!);
  };
  expect(await restore()).toMatchObject({ msg: 'done', conflicts: 0, gaps: 0, imported: expect.any(Number) });
  expect(await restore()).toMatchObject({ msg: 'done', imported: 0, aggregates: 0 });
}
