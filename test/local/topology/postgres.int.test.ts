import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { identify } from '../../../local/supervisor/process-identity.ts';
import { createSystem, startPostgres } from '../../../local/topology/postgres.ts';
import { temporaryFolder } from '../../support/folder.ts';

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new Client(url);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

const log = () => undefined;

test('only the owner creates tables in a system’s database, and other systems cannot connect', async () => {
  await using folder = await temporaryFolder();
  const { superuserUrl, stop } = await startPostgres({ dataDir: join(folder.path, 'postgres'), log });
  try {
    const one = await createSystem(superuserUrl, { database: 'one', rolePrefix: 'one' });
    const two = await createSystem(superuserUrl, { database: 'two', rolePrefix: 'two', passwords: { app: "it's" } });
    await query(one.owner, 'create table public.mine (id int)');
    await expect(query(one.app, 'create table public.mine_too (id int)')).rejects.toThrow('permission denied');
    await expect(query(one.app, 'create temporary table mine_too (id int)')).rejects.toThrow('permission denied');
    await expect(query(one.app, 'select * from public.mine')).rejects.toThrow('permission denied');
    const other = Object.assign(new URL(two.app), { pathname: '/one' }).href;
    await expect(query(other, 'select 1')).rejects.toThrow('permission denied for database');
    await expect(query(one.app.replace(/:[^:@]+@/, ':wrong@'), 'select 1')).rejects.toThrow('password');
    expect(statSync(join(folder.path, 'postgres/superuser-password')).mode & 0o777).toBe(0o600);
  } finally {
    await stop();
  }
});

test('a server left by a killed run is stopped first, and its data is kept', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'postgres');
  const first = await startPostgres({ dataDir, log });
  await query(first.superuserUrl, 'create table saved as select 42 as answer');
  const pid = Number(readFileSync(join(dataDir, 'cluster/postmaster.pid'), 'utf8').split('\n')[0]);
  const second = await startPostgres({ dataDir, log });
  try {
    expect(await identify(pid)).toBeUndefined();
    expect(await query(second.superuserUrl, 'select answer from saved')).toEqual([{ answer: 42 }]);
  } finally {
    await second.stop();
  }
});
