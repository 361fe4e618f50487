import { Client } from 'pg';
import { type MemberSystem, openMemberSystem } from './support.ts';

let system: MemberSystem;
beforeAll(async () => {
  system = await openMemberSystem();
  const { id } = await system.register();
  await system.open(id);
});
afterAll(() => system[Symbol.asyncDispose]());

/** What a role is answered: the number of rows, or why it was refused. */
async function as(role: 'app' | 'relay' | 'housekeeping' | 'readonly', sql: string): Promise<unknown> {
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
const denied = expect.stringMatching(/^permission denied/);

describe('The database’s roles', () => {
  test.each([
    ['delete from member'],
    ['delete from session'],
    ['truncate login_record'],
    ['update login_record set ip = null'],
    ['update eventing.event_store set reason = null'],
    ['delete from eventing.event_store'],
    ['drop table member'],
  ])('keep the app from %s', async (sql) => {
    expect(await as('app', sql)).toEqual(sql.startsWith('drop') ? expect.stringMatching(/must be owner/) : denied);
  });

  test.each(['relay', 'housekeeping'] as const)('keep the %s from members', async (role) => {
    for (const table of ['member', 'session', 'login_record'])
      expect(await as(role, `select from ${table}`)).toEqual(denied);
  });

  test('let operators look into the tables, past everything personal', async () => {
    expect(await as('readonly', 'select id, status, registered_at from member')).toBe(1);
    expect(await as('readonly', 'select number, member_id, logged_out_at from session')).toBe(1);
    for (const sql of [
      'select email from member',
      'select name from member',
      'select password_hash from member',
      'select identity_hash from member',
      'select device_id from session',
      'select token_hash from session',
      'select ip from login_record',
      `update member set status = 'WITHDRAWN'`,
    ]) {
      expect([sql, await as('readonly', sql)]).toEqual([sql, denied]);
    }
  });
});
