import { Migration } from '@mikro-orm/migrations';
import { SEQUENCE_DIGITS } from '../cloud-event.ts';

/** Adds the function with which transactions store their events: one call, whose statements PostgreSQL plans once per connection. */
export function addAppend(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(append.replaceAll('$roles', roles));
    }
    override down(): void {
      this.addSql('drop function eventing.append_1');
    }
  };
}

// Its name has a version: while a release is rolled out, the last one calls the earlier function.
const append = `
-- Stores events and their internal messages, and creates the keys of new aggregates.
-- p_heads: [{"type", "id", "events": how many}], the aggregates.
-- p_events: [{"head": position in p_heads, from 1, "message": the CloudEvent without its sequence}], in the order in which they were raised.
-- p_keys: {aggregate id: wrapped key in hex}.
-- Returns false, with no event stored, if one of these aggregates has a key already. Fails if a key is destroyed.
create function eventing.append_1(
  p_heads jsonb, p_events jsonb, p_keys jsonb, p_program text, p_requested_by text, p_traceparent text, p_at timestamptz, p_topic text
) returns boolean language plpgsql as $$
declare
  v_head record;
  v_event record;
  v_id uuid;
  v_sequence bigint;
  v_created bigint;
  v_types text[];
  v_sequences bigint[];
begin
  if p_keys <> '{}' then
    insert into eventing.encryption_key (aggregate_id, wrapped_key)
      select key::uuid, decode(value, 'hex') from jsonb_each_text(p_keys) order by 1 on conflict do nothing;
    get diagnostics v_created = row_count;
    if v_created < (select count(*) from jsonb_object_keys(p_keys)) then return false; end if;
  end if;
  -- Heads are locked in the order of their ids, to avoid deadlocks between transactions about the same two aggregates.
  -- A head's lock is held until the commit, so sequences are gapless and in commit order.
  for v_head in
    select e ->> 'type' as type, (e ->> 'id')::uuid as id, (e ->> 'events')::bigint as events, place
      from jsonb_array_elements(p_heads) with ordinality as each(e, place) order by 1, 2
  loop
    insert into eventing.stream as s (aggregate_type, aggregate_id, last_sequence) values (v_head.type, v_head.id, v_head.events)
      on conflict (aggregate_type, aggregate_id)
        do update set last_sequence = s.last_sequence + excluded.last_sequence, changed_at = clock_timestamp()
      returning last_sequence - v_head.events into v_sequence;
    -- A transaction that destroys the key holds the head's lock as well.
    if exists (select from eventing.encryption_key where aggregate_id = v_head.id and wrapped_key is null) then
      raise exception '% has recorded its last event: its key is destroyed', v_head.id;
    end if;
    v_types[v_head.place] := v_head.type;
    v_sequences[v_head.place] := v_sequence;
  end loop;
  for v_event in
    select (e ->> 'head')::int as head, e -> 'message' as message from jsonb_array_elements(p_events) with ordinality as each(e, place) order by place
  loop
    v_id := (v_event.message ->> 'eventid')::uuid;
    v_sequence := v_sequences[v_event.head] + 1;
    v_sequences[v_event.head] := v_sequence;
    insert into eventing.event_store
      (id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, event_channel, requested_by, traceparent, created_at)
      values (v_id, v_types[v_event.head], (v_event.message ->> 'subject')::uuid, v_sequence, v_event.message ->> 'type',
        v_event.message #> '{data,attributes}', v_event.message #>> '{data,reason}', p_program, p_requested_by, p_traceparent, p_at);
    insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
      values ((v_event.message ->> 'id')::uuid, v_id, 'internal', p_topic, v_event.message ->> 'subject',
        v_event.message || jsonb_build_object('sequence', lpad(v_sequence::text, ${SEQUENCE_DIGITS}, '0')));
  end loop;
  return true;
end $$;
revoke all on function eventing.append_1 from public;
grant execute on function eventing.append_1 to $roles_app;
`;
