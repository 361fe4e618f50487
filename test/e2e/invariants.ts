import { Client } from 'pg';
import type { Running } from '../../local/running.ts';
import { eventually } from '../support/eventually.ts';

/**
 * What must hold of everything that ever happened in a system, once it is at rest: looked up in both databases as a reader.
 * @throws with the rows that break it
 */
export async function invariants(running: Running): Promise<void> {
  const { member, familyAccount } = running.databases;
  await hold(async (database, sql) => {
    const client = new Client((database === 'member' ? member : familyAccount).readonly);
    await client.connect();
    try {
      return (await client.query(sql)).rows;
    } finally {
      await client.end();
    }
  });
}

/**
 * The same of systems that are reached in another way.
 * @param query asks one of the databases, as somebody who may read all of `eventing`
 */
export async function hold(
  query: (database: 'member' | 'family_account', sql: string) => Promise<unknown[]>,
): Promise<void> {
  // What a killed process had in its hands is brought again after a while.
  await eventually(
    async () => {
      for (const database of ['member', 'family_account'] as const)
        for (const [promise, sql] of Object.entries(breaches)) {
          const rows = await query(database, `select * from (${sql}) as breach limit 5`);
          expect({ database, promise, rows }).toEqual({ database, promise, rows: [] });
        }
      const said = await query('member', heads);
      expect(said.length).toBeGreaterThan(0);
      expect(await query('family_account', heard)).toEqual(said);
    },
    { timeoutMs: 90_000 },
  );
}

/** How far the facts about each member go, and how far the other system has come with them: to the last one. */
const heads = `
select aggregate_id::text as id, last_sequence::int as last from eventing.stream order by 1`;
const heard = `
select aggregate_id as id, last_sequence::int as last from eventing.cursor where consumer = 'membership' and stream = '/member' order by 1`;

/** Of all messages of the member system that there ever were: the attempts spent on them, and how many have not come back. */
export async function deliveries({ databases }: Running): Promise<{ attempts: number; waiting: number }> {
  const client = new Client(databases.member.readonly);
  await client.connect();
  try {
    const { rows } = await client.query(
      `select coalesce(sum(attempts), 0)::int as attempts, count(*) filter (where published_at is null)::int as waiting
         from eventing.delivery`,
    );
    return rows[0];
  } finally {
    await client.end();
  }
}

/** Each query finds what must not be, once all is at rest. */
export const breaches: Readonly<Record<string, string>> = {
  'every message has come back': `
    select topic, count(*)::int from eventing.delivery where published_at is null group by topic`,
  'no consumer keeps anything': `
    select consumer, event_type, state, last_error, count(*)::int from eventing.kept_delivery
     where state <> 'discarded' group by 1, 2, 3, 4`,
  'every fact has exactly one internal and one external message to all, both published': `
    select e.id, e.event_type, array_agg(d.channel) from eventing.event_store e left join eventing.delivery d on d.event_id = e.id and d.target = 'ALL'
     group by e.id, e.event_type having array_agg(d.channel order by d.channel) <> array['external', 'internal']`,
  'every message is of a stored fact': `
    select d.id from eventing.delivery d left join eventing.event_store e on e.id = d.event_id where e.id is null`,
  'sequences are gapless': `
    select aggregate_id, array_agg(sequence order by sequence) from eventing.event_store group by aggregate_id
     having max(sequence) <> count(*) or count(distinct sequence) <> count(*)`,
  'every log-in has reached each of its three workers': `
    select e.id, worker from eventing.event_store e, unnest(array['device-login-recorder', 'other-device-logout', 'other-member-logout']) as worker
     where event_type = 'member.logged-in'
       and not exists (select from eventing.inbox i where i.consumer = worker and i.event_id = e.id)`,
  'ordered consumers of the own system have applied everything': `
    select c.consumer, c.aggregate_id, c.last_sequence, s.last_sequence from eventing.cursor c
      join eventing.stream s on s.aggregate_id::text = c.aggregate_id and '/' || s.aggregate_type = c.stream where c.last_sequence <> s.last_sequence`,
};
