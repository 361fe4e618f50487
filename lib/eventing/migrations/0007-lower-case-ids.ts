import { Migration } from '@mikro-orm/migrations';

/**
 * Converts the aggregate ids of cursors and deferred deliveries to lower case, as received ids are from now on.
 * Otherwise consumers would not find those of a publisher that writes upper case.
 */
export function lowerCaseIds() {
  return class extends Migration {
    override up(): void {
      this.addSql(LOWER_CASE_IDS);
    }
    override down(): void {
      // Both spellings meant the same aggregate: nothing to restore.
    }
  };
}

// Edits the text of deferred events in place, because `envelope` may hold what jsonb rejects.
export const LOWER_CASE_IDS = `
with spelled as (
  delete from eventing.cursor where aggregate_id <> lower(aggregate_id) returning consumer, stream, lower(aggregate_id) as id, last_sequence
)
insert into eventing.cursor as c (consumer, stream, aggregate_id, last_sequence)
select consumer, stream, id, max(last_sequence) from spelled group by 1, 2, 3
on conflict (consumer, stream, aggregate_id) do update set last_sequence = greatest(c.last_sequence, excluded.last_sequence);

update eventing.kept_delivery set aggregate_id = lower(aggregate_id),
    envelope = replace(envelope::text, format('"aggregateId":"%s"', aggregate_id), format('"aggregateId":"%s"', lower(aggregate_id)))::json,
    next_attempt_at = case when state = 'early' then clock_timestamp() else next_attempt_at end
  where aggregate_id <> lower(aggregate_id);
`;
