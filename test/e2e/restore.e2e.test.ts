import { randomUUID } from 'node:crypto';
import { jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { Client } from 'pg';
import { connectNats, readTopic } from '#eventing-host/jetstream';
import { Api } from '../../local/demo/api.ts';
import type { Running } from '../../local/supervisor/running.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith, type TestStack } from '../support/stack.ts';
import { backUpDatabases } from './backups.ts';
import { eraseMessages, withBroker } from './broker.ts';
import { expectInvariants } from './invariants.ts';

let stack: TestStack;
let running: Running;
beforeAll(async () => {
  stack = await startStackWith({ env: { RECONCILE_AFTER_SECONDS: '3', RESEND_AFTER_SECONDS: '8' } });
  running = await stack.running();
});
afterAll(() => stack?.[Symbol.asyncDispose]());

const backUp = () => backUpDatabases(stack);

test('restoring both databases reuses no sequence, keeps what ended, and the systems agree', async () => {
  const anna = await createVerifiedMember('Anna');
  const ben = await createVerifiedMember('Ben');
  const dora = await createVerifiedMember('Dora');
  const account = await families(anna).post('/v1/family-accounts', { name: 'Home' });
  await join(account.id, anna, ben);
  await expectInvariants(running);
  await using backups = await backUp();

  await member(anna).patch(`/v1/members/${anna.id}`, { name: 'Anna B' });
  await join(account.id, anna, dora);
  const late = await createVerifiedMember('Late');
  const lates = await families(late).post('/v1/family-accounts', { name: 'Lost' });
  await member(ben).delete(`/v1/members/${ben.id}/identity-verification`, { reason: 'his wish' });
  await eventually(async () => expect(await membersOf(account.id, anna)).toEqual([anna.id, dora.id].sort()));
  await member(dora).delete(`/v1/members/${dora.id}`);
  await eventually(async () => expect(await membersOf(account.id, anna)).toEqual([anna.id]));
  await expectInvariants(running);
  const heads = await headsOf([anna, ben, dora, late]);
  expect(heads).toEqual([4, 4, 5, 3]);

  await backups.restore();
  const operator = new Api(running.memberOperationsUrl, running.memberOperatorToken);
  const read = ({ id }: Person) => operator.get(`/v1/members/${id}`);
  await eventually(async () => expect(await read(anna)).toMatchObject({ name: 'Anna B' }));
  expect(await read(ben)).toMatchObject({ identityVerification: { status: 'NONE' } });
  expect([await read(dora), await read(late)]).toEqual([dora, late].map(({ id }) => ({ id, status: 'WITHDRAWN' })));
  expect((await families(anna).get('/v1/family-accounts')).familyAccounts.map(({ id }: { id: string }) => id)).toEqual([
    account.id,
  ]);
  expect(await membersOf(account.id, anna)).toEqual([anna.id]);
  const closed = await new Api(running.familyAccountOperationsUrl, running.familyAccountOperatorToken).get(
    `/v1/family-accounts/${lates.id}`,
  );
  expect(closed).toMatchObject({ status: 'CLOSED' });
  // Dora's last event was imported. The others got a restored event, and Late, whose registration was lost, withdrew.
  expect(await headsOf([anna, ben, dora, late])).toEqual([5, 5, 5, 5]);
  await eventually(async () => expect(await cursorsOf([anna, ben, dora, late])).toEqual([5, 5, 5, 5]));
  await expectInvariants(await stack.running());

  // New events are handled, although family-account had received Anna's events up to their former head.
  await member(anna).delete(`/v1/members/${anna.id}/identity-verification`, { reason: 'hers' });
  await eventually(async () =>
    expect(await families(anna).get('/v1/family-accounts')).toMatchObject({ familyAccounts: [] }),
  );
  await expectInvariants(await stack.running());
});

describe('Reading a topic', () => {
  const TOPIC = 'to-be-read';
  const PUBLISHED = 1_203;
  const connect = () => connectNats(running.brokerUrl);
  beforeEach(() =>
    withBroker(running.brokerUrl, async ({ streams }, connection) => {
      await streams.add({ name: TOPIC, subjects: [TOPIC] });
      const js = jetstream(connection);
      for (let n = 1; n <= PUBLISHED; n++) await js.publish(TOPIC, String(n));
    }),
  );
  afterEach(() => withBroker(running.brokerUrl, ({ streams }) => streams.delete(TOPIC)));

  async function read(connection: NatsConnection): Promise<{ since: Date; numbers: number[] }> {
    const { since, messages } = await readTopic(connection, TOPIC);
    const numbers: number[] = [];
    for await (const body of messages) numbers.push(Number(body));
    return { since, numbers };
  }

  test('returns all messages in order, complete since the topic was created', async () => {
    const created = await withBroker(running.brokerUrl, async ({ streams }) => (await streams.info(TOPIC)).created);
    await using connection = closing(await connect());
    expect(await read(connection)).toEqual({
      since: new Date(created),
      numbers: Array.from({ length: PUBLISHED }, (_, i) => i + 1),
    });
  });

  test('returns the remaining messages, complete since the oldest one, when others are deleted', async () => {
    const second = await withBroker(running.brokerUrl, async ({ streams }) => {
      const { time } = (await streams.getMessage(TOPIC, { seq: 2 }))!;
      for (const seq of [1, 700, PUBLISHED - 1, PUBLISHED]) await streams.deleteMessage(TOPIC, seq);
      return time;
    });
    await using connection = closing(await connect());
    const { since, numbers } = await read(connection);
    expect([numbers.length, numbers[0], numbers.at(-1)]).toEqual([PUBLISHED - 4, 2, PUBLISHED - 2]);
    expect(since).toEqual(second);
  });

  test('returns nothing from an empty topic, which is complete since now only', async () => {
    await eraseMessages(running.brokerUrl, TOPIC);
    const before = Date.now();
    await using connection = closing(await connect());
    const { since, numbers } = await read(connection);
    expect([numbers, since.getTime() >= before]).toEqual([[], true]);
  });

  test('fails when the connection breaks', async () => {
    const connection = await connect();
    const { messages } = await readTopic(connection, TOPIC);
    const reading = (async () => {
      let count = 0;
      for await (const _ of messages) if (++count === 500) void connection.close();
    })();
    await expect(reading).rejects.toThrow();
  });
});

const closing = (connection: NatsConnection): NatsConnection & AsyncDisposable =>
  Object.assign(connection, { [Symbol.asyncDispose]: () => connection.close() });

interface Person {
  readonly id: string;
  readonly token: string;
}
const member = ({ token }: Person) => new Api(running.memberUrl, token);
const families = ({ token }: Person) => new Api(running.familyAccountUrl, token);

async function createVerifiedMember(name: string): Promise<Person> {
  const api = new Api(running.memberUrl);
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
  const { id } = await api.post('/v1/members', { ...person, name });
  const { token } = await api.post('/v1/sessions', {
    ...person,
    device: { id: randomUUID(), name: 'phone', os: 'any' },
  });
  await api.as(token).put(`/v1/members/${id}/identity-verification`, { identityVerificationId: `ok-${randomUUID()}` });
  return { id, token };
}

async function join(accountId: string, owner: Person, guest: Person): Promise<void> {
  const { code } = await families(owner).post(`/v1/family-accounts/${accountId}/invitations`);
  await families(guest).post(`/v1/invitations/${code}/acceptance`);
}

async function membersOf(accountId: string, one: Person): Promise<string[]> {
  const { members } = await families(one).get(`/v1/family-accounts/${accountId}`);
  return members.map(({ memberId }: { memberId: string }) => memberId).sort();
}

async function sql<T>(url: string, text: string, params: unknown[] = []): Promise<T[]> {
  const client = new Client(url);
  await client.connect();
  try {
    return (await client.query(text, params)).rows as T[];
  } finally {
    await client.end();
  }
}

/** Returns the sequence of each member's last event. */
async function headsOf(members: Person[]): Promise<number[]> {
  const text = 'select aggregate_id as id, last_sequence::int as n from eventing.stream';
  return inOrderOf(members, await sql(running.databases.member.readonly, text));
}

/** Returns family-account's cursor for each member. */
async function cursorsOf(members: Person[]): Promise<number[]> {
  const text = `select aggregate_id as id, last_sequence::int as n from eventing.cursor where consumer = 'membership'`;
  return inOrderOf(members, await sql(running.databases.familyAccount.readonly, text));
}

const inOrderOf = (members: Person[], rows: { id: string; n: number }[]) =>
  members.map(({ id }) => rows.find((row) => row.id === id)?.n ?? 0);
