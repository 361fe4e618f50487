import { Client } from 'pg';
import type { Running } from '../../local/supervisor/running.ts';
import { eventually } from '../support/eventually.ts';

/**
 * Waits until the invariants hold in both databases of a running stack.
 * @throws with the rows that violate one
 */
export async function expectInvariants(running: Running): Promise<void> {
  const { member, familyAccount } = running.databases;
  await expectInvariantsIn(async (database, sql) => {
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
 * Waits until the invariants hold in systems that are reached in another way.
 * @param query runs SQL in one of the databases, with read access to all of `eventing`
 */
export async function expectInvariantsIn(
  query: (database: 'member' | 'family_account', sql: string) => Promise<unknown[]>,
): Promise<void> {
  // The broker repeats the deliveries of a killed process after a while.
  await eventually(
    async () => {
      for (const database of ['member', 'family_account'] as const)
        for (const [invariant, sql] of Object.entries(violations)) {
          const rows = await query(database, `select * from (${sql}) as violation limit 5`);
          expect({ database, invariant, rows }).toEqual({ database, invariant, rows: [] });
        }
      const expected = await query('member', heads);
      expect(expected.length).toBeGreaterThan(0);
      expect(await query('family_account', cursors)).toEqual(expected);
    },
    { timeoutMs: 90_000 },
  );
}

/** The last sequence of each member in the member system, and family-account's cursor for it. They have to be equal. */
const heads = `
select aggregate_id::text as id, last_sequence::int as last from eventing.stream order by 1`;
const cursors = `
select aggregate_id as id, last_sequence::int as last from eventing.cursor where consumer = 'membership' and stream = '/member' order by 1`;

/** Returns the attempts spent on all messages of the member system ever, and the number of unconfirmed ones. */
export async function deliveryTotals({ databases }: Running): Promise<{ attempts: number; waiting: number }> {
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

/** Queries by invariant; each returns the rows that violate it once the system is idle. */
export const violations: Readonly<Record<string, string>> = {
  'every message is confirmed': `
    select topic, count(*)::int from eventing.delivery where published_at is null group by topic`,
  'no delivery is deferred': `
    select consumer, event_type, state, last_error, count(*)::int from eventing.kept_delivery
     where state <> 'discarded' group by 1, 2, 3, 4`,
  'every event has exactly one internal and one external message to all, both published': `
    select e.id, e.event_type, array_agg(d.channel) from eventing.event_store e left join eventing.delivery d on d.event_id = e.id and d.target = 'ALL'
     group by e.id, e.event_type having array_agg(d.channel order by d.channel) <> array['external', 'internal']`,
  'every message belongs to a stored event': `
    select d.id from eventing.delivery d left join eventing.event_store e on e.id = d.event_id where e.id is null`,
  'sequences are gapless': `
    select aggregate_id, array_agg(sequence order by sequence) from eventing.event_store group by aggregate_id
     having max(sequence) <> count(*) or count(distinct sequence) <> count(*)`,
  'every login has reached each of its three workers': `
    select e.id, worker from eventing.event_store e, unnest(array['device-login-recorder', 'other-device-logout', 'other-member-logout']) as worker
     where event_type = 'member.logged-in'
       and not exists (select from eventing.inbox i where i.consumer = worker and i.event_id = e.id)`,
  'ordered consumers of the same system have applied everything': `
    select c.consumer, c.aggregate_id, c.last_sequence, s.last_sequence from eventing.cursor c
      join eventing.stream s on s.aggregate_id::text = c.aggregate_id and '/' || s.aggregate_type = c.stream where c.last_sequence <> s.last_sequence`,
};
