import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { Api } from '../../local/demo/api.ts';
import { identityOf } from '../../services/member/sandbox/portone.ts';
import { eventually } from '../support/eventually.ts';
import { startStack, type TestStack } from '../support/stack.ts';
import { messagesOf } from './broker.ts';
import { deliveryTotals, expectInvariants } from './invariants.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());

/** Yields every row of every table of a database as text, bytes as characters. */
async function* rowsOf(url: string, database: string): AsyncGenerator<[where: string, text: string]> {
  const client = new Client({ connectionString: Object.assign(new URL(url), { pathname: `/${database}` }).href });
  await client.connect();
  try {
    await client.query(`set bytea_output = 'escape'`);
    const { rows: tables } = await client.query<{ name: string }>(
      `select format('%I.%I', schemaname, relname) as name from pg_stat_user_tables order by 1`,
    );
    expect(tables.length).toBeGreaterThan(10);
    for (const { name } of tables) {
      const { rows } = await client.query<{ text: string }>(`select t::text as text from ${name} as t`);
      for (const { text } of rows) yield [`${database} ${name}`, text];
    }
  } finally {
    await client.end();
  }
}

async function asSuperuser(url: string): Promise<Client & AsyncDisposable> {
  const client = new Client({ connectionString: Object.assign(new URL(url), { pathname: '/member' }).href });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

async function* topicsOf(brokerUrl: string): AsyncGenerator<[where: string, text: string]> {
  const found = await messagesOf(brokerUrl);
  expect(new Set(found.map(({ topic }) => topic)).size).toBe(4);
  for (const { topic, body } of found) yield [`topic ${topic}`, body];
}

async function* logsOf(dataDir: string): AsyncGenerator<[where: string, text: string]> {
  const folder = join(dataDir, 'logs');
  for (const name of await readdir(folder)) yield [name, await readFile(join(folder, name), 'utf8')];
}

/** Returns where any of these words occurs in the databases, topics and logs. */
async function search(words: readonly string[]): Promise<string[]> {
  const { databases, brokerUrl } = await stack.running();
  const places = [
    rowsOf(databases.superuser, 'member'),
    rowsOf(databases.superuser, 'family_account'),
    topicsOf(brokerUrl),
    logsOf(stack.dataDir),
  ];
  const found = new Set<string>();
  for (const place of places)
    for await (const [where, text] of place)
      for (const word of words) if (text.toLowerCase().includes(word.toLowerCase())) found.add(`${where}: ${word}`);
  return [...found].sort();
}

test('a withdrawn member’s data is in no table, topic, log or dead letter', async () => {
  const running = await stack.running();
  const [members, families] = [new Api(running.memberUrl), new Api(running.familyAccountUrl)];
  const mark = randomUUID().slice(0, 8);
  const person = { email: `erase-${mark}@example.com`, password: `secret ${mark}`, name: `Name-${mark}` };
  const changed = { email: `changed-${mark}@example.com`, name: `Renamed-${mark}` };
  const device = { id: `device-${mark}`, name: `Phone-of-${mark}`, os: `Os-${mark}` };
  const verificationId = `ok-${mark}`;
  const { ci, name, phoneNumber } = identityOf(verificationId);
  const secrets = Object.values({ ...person, email2: changed.email, name2: changed.name, ...device, d: device.id });
  const home = `Home of ${mark}`;
  const words = [...secrets, ci, name, phoneNumber, home];

  const { id } = await members.post('/v1/members', person);
  // The database logs rejected statements.
  await expect(members.post('/v1/members', person)).rejects.toThrow('email-taken');
  const { token } = await members.post('/v1/sessions', { email: person.email, password: person.password, device });
  const asMember = members.as(token);
  await asMember.put(`/v1/members/${id}/identity-verification`, { identityVerificationId: verificationId });
  await asMember.delete(`/v1/members/${id}/identity-verification`, { reason: `Because ${person.name} asked` });
  await asMember.put(`/v1/members/${id}/identity-verification`, { identityVerificationId: verificationId });
  const account = await families.as(token).post('/v1/family-accounts', { name: home });
  await fetch(`${running.memberUrl}/v1/members/${id}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(changed),
  });
  await eventually(async () => {
    const { loginRecords } = await asMember.get(`/v1/members/${id}/login-records`);
    expect(loginRecords).toHaveLength(1);
  });
  await expectInvariants(running);
  // One worker fails now, and defers its delivery.
  await using database = await asSuperuser(running.databases.superuser);
  await database.query('revoke insert on login_record from member_app');
  const again = await members.post('/v1/sessions', { email: changed.email, password: person.password, device });
  const selectDeferred = 'select state from eventing.kept_delivery where envelope is not null';
  const deferred = async () => (await database.query(selectDeferred)).rows;
  await eventually(async () => expect(await deferred()).toMatchObject([{ state: 'failing' }]));
  // Shows that the search works: it finds the data of an active member.
  expect(await search(words)).toEqual(expect.arrayContaining([`member public.member: ${changed.email}`]));
  expect((await search(words)).filter((where) => !/^(member|family_account) public\./.test(where))).toEqual([]);

  // A retry after the withdrawal would have nothing to write and delete the row, so the row is locked for now.
  await database.query('begin');
  await database.query(`${selectDeferred} for update`);
  await members.as(again.token).delete(`/v1/members/${id}`);
  const operators = new Api(running.familyAccountOperationsUrl, running.familyAccountOperatorToken);
  await eventually(async () =>
    expect(await operators.get(`/v1/family-accounts/${account.id}`)).toMatchObject({ status: 'CLOSED' }),
  );
  await eventually(async () => expect((await deliveryTotals(running)).waiting).toBe(0));
  expect(await deferred()).toHaveLength(1);
  expect(await search(words)).toEqual([]);
  await database.query('commit');
  await database.query('grant insert on login_record to member_app');
  await expectInvariants(running);
  expect(await search(words)).toEqual([]);
  const withdrawn = await new Api(running.memberOperationsUrl, running.memberOperatorToken).get(`/v1/members/${id}`);
  expect(withdrawn).toEqual({ id, status: 'WITHDRAWN' });
});
