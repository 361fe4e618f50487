import { Client } from 'pg';
import { type FamilyAccountSystem, openFamilyAccountSystem } from './support.ts';

let system: FamilyAccountSystem;
beforeAll(async () => {
  system = await openFamilyAccountSystem();
  const { id, memberIds } = await system.family();
  await system.invite(id, memberIds[0]!);
});
afterAll(() => system[Symbol.asyncDispose]());

/** Runs SQL as a role. @returns the number of rows, or the error message */
async function runAs(role: 'app' | 'relay' | 'housekeeping' | 'readonly', sql: string): Promise<unknown> {
  const client = new Client(system.database.urls[role]);
  await client.connect();
  try {
    return (await client.query(sql)).rowCount;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await client.end();
  }
}
const denied = expect.stringMatching(/^(permission denied|must be owner)/);

describe('Database roles', () => {
  test.each([
    'delete from family_account',
    'delete from membership',
    'delete from invitation',
    'truncate membership',
    'update membership set member_id = gen_random_uuid()',
    'update membership set joined_at = now()',
    'update invitation set expires_at = now()',
    'update eventing.event_store set reason = null',
    'delete from eventing.event_store',
    'drop table family_account',
  ])('deny the app role: %s', async (sql) => {
    expect(await runAs('app', sql)).toEqual(denied);
  });

  test.each(['relay', 'housekeeping'] as const)(
    'deny the %s role access to the family-account tables',
    async (role) => {
      for (const table of ['family_account', 'membership', 'invitation'])
        expect(await runAs(role, `select from ${table}`)).toEqual(denied);
    },
  );

  test('allow the read-only role all columns but names and codes', async () => {
    expect(await runAs('readonly', 'select id, status, owner_id, opened_at from family_account')).toBe(1);
    expect(await runAs('readonly', 'select * from membership')).toBe(1);
    expect(await runAs('readonly', 'select id, expires_at, accepted_by from invitation')).toBe(1);
    for (const sql of [
      'select name from family_account',
      'select code_hash from invitation',
      `update family_account set status = 'CLOSED'`,
      'update membership set ended_at = now()',
    ]) {
      expect([sql, await runAs('readonly', sql)]).toEqual([sql, denied]);
    }
  });
});
