import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api } from '../../local/demo/api.ts';
import { playStory } from '../../local/story.ts';
import { processTree, send } from '../../local/supervisor/process-identity.ts';
import type { Running } from '../../local/supervisor/running.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith, type TestStack } from '../support/stack.ts';
import { eraseConsumers, eraseMessages, eraseStreams } from './broker.ts';
import { expectInvariants } from './invariants.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStackWith({
    env: { SUBSCRIPTION_STALL_SECONDS: '2', RESEND_AFTER_SECONDS: '8', RECONCILE_AFTER_SECONDS: '3' },
  });
});
afterAll(() => stack?.[Symbol.asyncDispose]());

const silent = () => undefined;

test('subscriptions whose consumers were deleted are detected and recreated, and lose no event', async () => {
  const running = await stack.running();
  await playStory(running, silent);
  await eraseConsumers(running.brokerUrl);
  await playStory(running, silent);
  await expectInvariants(await stack.running());
});

test('a broker that restarts without data loses no event: unconfirmed messages are resent', async () => {
  const running = await stack.running();
  await stack.script('stack.ts', 'stop', 'publish-recorder');
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Anna' };
  await new Api(running.memberUrl).post('/v1/members', person);
  // The broker has the message, and it is not confirmed yet.
  await eventually(async () => expect(await countUnconfirmed(running)).toBe(1));
  await stack.script('stack.ts', 'stop', 'member-daprd');
  const story = playStory(running, silent);
  await eraseStreams(running.brokerUrl);
  // The recorder must not have it in progress either. Signals, since the script may take three seconds to start, and a
  // call of the story waits no longer for the stopped sidecar.
  const { processes } = await stack.running();
  for (const name of ['broker', 'publish-recorder', 'publish-recorder-daprd']) send(processes[name]!.pid, 'SIGKILL');
  for (const pid of await processTree(processes['member-daprd']!.pid)) send(pid, 'SIGCONT');
  await story;
  await expectInvariants(await stack.running());
});

test('messages lost after their confirmation reach workers, broadcaster and other system again', async () => {
  const running = await stack.running();
  const stopped = ['device-login-recorder', 'external-broadcaster', 'family-account'];
  const act = (verb: string, name: string) => stack.script('stack.ts', verb, name);
  for (const name of stopped) await act('stop', `${name}-daprd`);
  // Deliveries that sidecars have in progress are lost with them.
  const lose = async (topic: string, names: string[]) => {
    await eraseMessages(running.brokerUrl, topic);
    for (const name of names) await act('kill', `${name}-daprd`);
  };
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Anna' };
  const { id } = await new Api(running.memberUrl).post('/v1/members', person);
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  const logIn = () => new Api(running.memberUrl).post('/v1/sessions', { ...person, name: undefined, device });
  const numbers = [await logIn(), await logIn(), await logIn()].map(({ number }) => number);
  const countsOf = (channel: string) => eventCounts(running, { id, channel });
  await eventually(async () => expect(await countsOf('internal')).toEqual({ stored: 6, published: 6 }));
  await lose('member-internal', ['device-login-recorder', 'external-broadcaster']);
  expect([await recorded(running, numbers), (await countsOf('external')).published]).toEqual([0, 0]);
  await eventually(async () => expect(await countsOf('external')).toEqual({ stored: 6, published: 6 }));
  await lose('member-external', ['family-account']);
  expect(await cursorOf(running, id)).toBe(0);
  await eventually(async () => {
    expect(await recorded(running, numbers)).toBe(3);
    expect(await cursorOf(running, id)).toBe(6);
  });
  await expectInvariants(await stack.running());
});

async function query<T>(url: string, sql: string, params: unknown[]): Promise<T> {
  const client = new Client(url);
  await client.connect();
  try {
    return (await client.query(sql, params)).rows[0];
  } finally {
    await client.end();
  }
}

const eventCounts = ({ databases }: Running, { id, channel }: { id: string; channel: string }) =>
  query<{ stored: number; published: number }>(
    databases.member.readonly,
    `select count(distinct e.id)::int as stored, count(distinct p.event_id)::int as published from eventing.event_store e
       left join eventing.published p on p.event_id = e.id and p.channel = $2 where e.aggregate_id = $1`,
    [id, channel],
  );
async function recorded({ databases }: Running, numbers: number[]): Promise<number> {
  const url = Object.assign(new URL(databases.superuser), { pathname: '/member' }).href;
  const sql = 'select count(*)::int as n from login_record where session_number = any($1)';
  return (await query<{ n: number }>(url, sql, [numbers])).n;
}
/** Returns family-account's cursor for a member. */
async function cursorOf({ databases }: Running, memberId: string): Promise<number> {
  const sql = `select coalesce(max(last_sequence), 0)::int as n from eventing.cursor where consumer = 'membership' and aggregate_id = $1`;
  return (await query<{ n: number }>(databases.familyAccount.readonly, sql, [memberId])).n;
}

async function countUnconfirmed({ databases }: Running): Promise<number> {
  const client = new Client(databases.member.readonly);
  await client.connect();
  try {
    const { rows } = await client.query(
      `select from eventing.delivery where channel = 'internal' and relayed_at is not null and published_at is null`,
    );
    return rows.length;
  } finally {
    await client.end();
  }
}
