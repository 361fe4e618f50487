import type { EntityManager } from '@mikro-orm/postgresql';
import { execute } from '../sql.ts';

/**
 * Confirms a verified message with the schema of the last release, which has no function for it (docs/decisions/0015). Remove this file in
 * the next release.
 */
export async function confirmBefore(em: EntityManager, messageId: string): Promise<void> {
  const confirmed = await execute(em, CONFIRM, [messageId]);
  // The relay has moved it from `outbox` to `relayed` since the statement began, or it is confirmed.
  if (confirmed.length === 0) await execute(em, CONFIRM, [messageId]);
}

const CONFIRM = `
with wanted as materialized (
  select ?::uuid as id, set_config('synchronous_commit', 'off', true)
), unsent as (
  delete from eventing.outbox where id in (select id from wanted)
  returning id, event_id, channel, topic, target, attempts, created_at, clock_timestamp() as relayed_at
), sent as (
  delete from eventing.relayed where id in (select id from wanted)
  returning id, event_id, channel, topic, target, attempts, created_at, relayed_at
), deleted as (
  select * from unsent union all select * from sent
), inserted as (
  insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
  select * from deleted on conflict (id) do nothing
)
select id from deleted`;
