import { Client } from 'pg';
import { connect } from '../../../services/member/database.ts';
import { Member } from '../../../services/member/domain/member.ts';
import { type MemberSystem, masterKey, openMemberSystem } from './support.ts';

let system: MemberSystem;
beforeAll(async () => {
  system = await openMemberSystem();
  const { id } = await system.register();
  await system.open(id);
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
const denied = expect.stringMatching(/^permission denied/);

describe('Database roles', () => {
  test.each([
    ['delete from member'],
    ['delete from session'],
    ['truncate login_record'],
    ['update login_record set ip = null'],
    ['update eventing.event_store set reason = null'],
    ['delete from eventing.event_store'],
    ['drop table member'],
  ])('deny the app role: %s', async (sql) => {
    expect(await runAs('app', sql)).toEqual(sql.startsWith('drop') ? expect.stringMatching(/must be owner/) : denied);
  });

  test.each(['relay', 'housekeeping'] as const)('deny the %s role access to the member tables', async (role) => {
    for (const table of ['member', 'session', 'login_record'])
      expect(await runAs(role, `select from ${table}`)).toEqual(denied);
  });

  test('allow the read-only role all columns but personal ones', async () => {
    expect(await runAs('readonly', 'select id, status, registered_at from member')).toBe(1);
    expect(await runAs('readonly', 'select number, member_id, logged_out_at from session')).toBe(1);
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
      expect([sql, await runAs('readonly', sql)]).toEqual([sql, denied]);
    }
  });
});

test.each(['German', 'SQL', 'Postgres'])(
  'A member is read with correct dates when the database has DateStyle %s',
  async (style) => {
    const { id, registeredAt } = await system.register();
    const url = system.database.urls.app;
    const role = `role ${new URL(url).username} in database ${new URL(url).pathname.slice(1)}`;
    await system.database.sql(`alter ${role} set DateStyle = ${style}`);
    await using other = await connect({ url, masterKeys: [masterKey], program: 'other' });
    expect(await other.orm.em.fork().findOneOrFail(Member, id)).toMatchObject({ registeredAt });
    await system.database.sql(`alter ${role} reset DateStyle`);
  },
);
