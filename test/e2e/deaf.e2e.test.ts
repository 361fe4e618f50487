import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api } from '../../local/api.ts';
import type { Running } from '../../local/running.ts';
import { playStory } from '../../local/story.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith, type TestStack } from '../support/stack.ts';
import { eraseConsumers, eraseMessages, eraseStreams } from './broker.ts';
import { invariants } from './invariants.ts';

let stack: TestStack;
beforeAll(async () => {
  stack = await startStackWith({ env: { SILENCE_SECONDS: '2', RESEND_AFTER_SECONDS: '8', REPAIR_AFTER_SECONDS: '3' } });
}, 130_000);
afterAll(() => stack?.[Symbol.asyncDispose](), 60_000);

const silent = () => undefined;

test('subscriptions that the broker has forgotten are noticed and made again, and the story comes true', async () => {
  const running = await stack.running();
  await playStory(running, silent);
  await eraseConsumers(running.brokerUrl);
  await playStory(running, silent);
  await invariants(await stack.running());
}, 120_000);

test('a broker that comes back without its data costs nothing: what had not come back is sent again, each effect is there once', async () => {
  const running = await stack.running();
  await stack.script('stack.ts', 'stop', 'publish-recorder');
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Somebody' };
  await new Api(running.memberUrl).post('/v1/members', person);
  // The broker has it, and nobody can know whether it has come back.
  await eventually(async () => expect(await relayedNotBack(running)).toBe(1));
  await stack.script('stack.ts', 'stop', 'member-daprd');
  const story = playStory(running, silent);
  await eraseStreams(running.brokerUrl);
  await stack.script('stack.ts', 'kill', 'broker');
  // Nor does anybody else have it in his hands any more.
  await stack.script('stack.ts', 'kill', 'publish-recorder');
  await stack.script('stack.ts', 'kill', 'publish-recorder-daprd');
  await stack.script('stack.ts', 'cont', 'member-daprd');
  await story;
  await invariants(await stack.running());
}, 120_000);

test('what the broker loses once the recorder has it reaches all others again: workers, broadcaster and the other system', async () => {
  const running = await stack.running();
  const deaf = ['device-login-recorder', 'external-broadcaster', 'family-account'];
  const act = (verb: string, name: string) => stack.script('stack.ts', verb, name);
  for (const name of deaf) await act('stop', `${name}-daprd`);
  // What sidecars have in their hands is lost with them.
  const lose = async (topic: string, names: string[]) => {
    await eraseMessages(running.brokerUrl, topic);
    for (const name of names) await act('kill', `${name}-daprd`);
  };
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Somebody' };
  const { id } = await new Api(running.memberUrl).post('/v1/members', person);
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  const logIn = () => new Api(running.memberUrl).post('/v1/sessions', { ...person, name: undefined, device });
  const numbers = [await logIn(), await logIn(), await logIn()].map(({ number }) => number);
  const of = (channel: string) => facts(running, { id, channel });
  await eventually(async () => expect(await of('internal')).toEqual({ stated: 6, published: 6 }));
  await lose('member-internal', ['device-login-recorder', 'external-broadcaster']);
  expect([await recorded(running, numbers), (await of('external')).published]).toEqual([0, 0]);
  await eventually(async () => expect(await of('external')).toEqual({ stated: 6, published: 6 }), {
    timeoutMs: 40_000,
  });
  await lose('member-external', ['family-account']);
  expect(await heardOf(running, id)).toBe(0);
  await eventually(
    async () => {
      expect(await recorded(running, numbers)).toBe(3);
      expect(await heardOf(running, id)).toBe(6);
    },
    { timeoutMs: 60_000 },
  );
  await invariants(await stack.running());
}, 180_000);

async function query<T>(url: string, sql: string, params: unknown[]): Promise<T> {
  const client = new Client(url);
  await client.connect();
  try {
    return (await client.query(sql, params)).rows[0];
  } finally {
    await client.end();
  }
}

const facts = ({ databases }: Running, { id, channel }: { id: string; channel: string }) =>
  query<{ stated: number; published: number }>(
    databases.member.readonly,
    `select count(distinct e.id)::int as stated, count(distinct p.event_id)::int as published from eventing.event_store e
       left join eventing.published p on p.event_id = e.id and p.channel = $2 where e.aggregate_id = $1`,
    [id, channel],
  );
async function recorded({ databases }: Running, numbers: number[]): Promise<number> {
  const url = Object.assign(new URL(databases.superuser), { pathname: '/member' }).href;
  const sql = 'select count(*)::int as n from login_record where session_number = any($1)';
  return (await query<{ n: number }>(url, sql, [numbers])).n;
}
/** How far family-account has come with what a member did. */
async function heardOf({ databases }: Running, memberId: string): Promise<number> {
  const sql = `select coalesce(max(last_sequence), 0)::int as n from eventing.cursor where consumer = 'membership' and aggregate_id = $1`;
  return (await query<{ n: number }>(databases.familyAccount.readonly, sql, [memberId])).n;
}

async function relayedNotBack({ databases }: Running): Promise<number> {
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
