import { Migration } from '@mikro-orm/migrations';

/** Adds the functions with which consumers receive events and the recorder confirms messages: one call each. */
export function addReceiveAndConfirm(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(receive.replaceAll('$roles', roles));
      this.addSql(confirm.replaceAll('$roles', roles));
    }
    override down(): void {
      this.addSql('drop function eventing.receive_1');
      this.addSql('drop function eventing.confirm_1');
    }
  };
}

// In PL/pgSQL each statement sees what was committed before it: after waiting for the lock of a cursor, the latest state.
const receive = `
-- Decides what a consumer does with an event that it has received, in the transaction of its effect. For 'apply' the event is recorded as
-- applied by then: the caller applies it or rolls back.
-- p_is_handled: whether the consumer handles its type; an ordered consumer's cursor passes others.
-- p_can_apply: false if an ordered consumer has not read yet what it needs.
-- p_is_first: whether it comes from the broker, not from kept_delivery.
-- p_is_own: whether the event store has to have it.
-- outcome: 'apply', 'duplicate', 'deferred' (it is already), 'out of order', 'unread' (its turn, but p_can_apply is false),
--   'too old' (than horizon), 'not genuine', 'other deferred' and 'other applied' (other, which has its id or its sequence).
-- is_due: whether a deferred delivery has become due by it. The rest: the event as it is stored.
create function eventing.receive_1(
  p_consumer text, p_is_ordered boolean, p_is_handled boolean, p_can_apply boolean, p_is_first boolean, p_is_own boolean,
  p_event_id uuid, p_stream text, p_aggregate_id text, p_sequence bigint, p_type text,
  out outcome text, out is_due boolean, out horizon uuid, out other text,
  out created_at timestamptz, out attributes jsonb, out reason text, out traceparent text
) language plpgsql set enable_seqscan = off as $$
declare
  v_event record;
  v_row record;
  v_last bigint;
  v_is_discarded boolean;
begin
  is_due := false;
  if p_is_own then
    select f.aggregate_id, f.sequence, f.event_type, f.attributes, f.reason, f.created_at, f.traceparent into v_event
      from eventing.event_store f where f.id = p_event_id;
    if not found or (v_event.aggregate_id::text, v_event.sequence, v_event.event_type) <> (p_aggregate_id, p_sequence, p_type) then
      outcome := 'not genuine';
      return;
    end if;
    attributes := v_event.attributes;
    reason := v_event.reason;
    created_at := v_event.created_at;
    traceparent := v_event.traceparent;
  end if;

  if p_is_first then
    select k.stream, k.aggregate_id, k.sequence, k.event_type into v_row
      from eventing.kept_delivery k where k.consumer = p_consumer and k.event_id = p_event_id;
    if found then
      -- Compared in lower case, because release 0.1 stored the id as received.
      if (v_row.stream, lower(v_row.aggregate_id), v_row.sequence, v_row.event_type)
          is not distinct from (p_stream, p_aggregate_id, p_sequence, p_type) then
        outcome := 'deferred';
        return;
      elsif not p_is_own then
        outcome := 'other deferred';
        other := format('sequence %s of %s', v_row.sequence, v_row.aggregate_id);
        return;
      end if;
      -- An own event is verified by now: it replaces a delivery that only claims its id.
      delete from eventing.kept_delivery k where k.consumer = p_consumer and k.event_id = p_event_id;
    end if;
  end if;

  if not p_is_ordered then
    -- Inserting decides: a concurrent delivery waits here for the result of the first. Together with the horizon, which cannot move
    -- in between: housekeeping waits for this transaction before it drops rows. A deferred event was judged before it was deferred.
    insert into eventing.inbox (consumer, event_id) select p_consumer, p_event_id
      where not p_is_first or p_event_id >= (select h.first_id from eventing.horizon h where h.name = 'inbox') on conflict do nothing;
    if found then
      outcome := 'apply';
      return;
    end if;
    outcome := 'duplicate';
    if not p_is_first or exists (select from eventing.inbox i where i.consumer = p_consumer and i.event_id = p_event_id) then return; end if;
    select k.stream, k.aggregate_id, k.sequence, k.event_type into v_row
      from eventing.kept_delivery k where k.consumer = p_consumer and k.event_id = p_event_id;
    if not found or (v_row.stream, lower(v_row.aggregate_id), v_row.sequence, v_row.event_type)
        is distinct from (p_stream, p_aggregate_id, p_sequence, p_type) then
      select h.first_id into horizon from eventing.horizon h where h.name = 'inbox' and h.first_id > p_event_id;
      if found then outcome := 'too old'; end if;
    end if;
    return;
  end if;

  select c.last_sequence into v_last from eventing.cursor c
    where c.consumer = p_consumer and c.stream = p_stream and c.aggregate_id = p_aggregate_id for update;
  if not found then
    insert into eventing.cursor (consumer, stream, aggregate_id, last_sequence) values (p_consumer, p_stream, p_aggregate_id, 0)
      on conflict do nothing;
    select c.last_sequence into v_last from eventing.cursor c
      where c.consumer = p_consumer and c.stream = p_stream and c.aggregate_id = p_aggregate_id for update;
  end if;
  if p_sequence <= v_last then
    outcome := 'duplicate';
    if p_is_own then return; end if;
    -- If the applied event is not recorded any more, it counts as the same.
    select format('%s %s', a.event_id, a.event_type) into other from eventing.applied a
      where a.consumer = p_consumer and a.stream = p_stream and a.aggregate_id = p_aggregate_id and a.sequence = p_sequence
        and (a.event_id, a.event_type) <> (p_event_id, p_type);
    if found then outcome := 'other applied'; end if;
    return;
  elsif p_sequence > v_last + 1 then
    outcome := 'out of order';
    return;
  elsif not p_can_apply then
    outcome := 'unread';
    return;
  end if;
  outcome := 'apply';
  -- Not for events that are only passed: traces would show them as handled.
  if p_is_handled then
    insert into eventing.inbox (consumer, event_id) values (p_consumer, p_event_id) on conflict do nothing;
  end if;
  if not p_is_own then
    insert into eventing.applied (consumer, stream, aggregate_id, sequence, event_id, event_type)
      values (p_consumer, p_stream, p_aggregate_id, p_sequence, p_event_id, p_type) on conflict do nothing;
  end if;
  -- Past discarded deliveries that follow. The next delivery, if it is deferred, becomes due.
  v_last := p_sequence;
  loop
    v_is_discarded := false;
    -- Planned each time: a plan that is kept from when the table was empty may read all rows of the consumer.
    for v_row in execute $next$
      update eventing.kept_delivery k set next_attempt_at = case when k.state in ('early', 'failing') then clock_timestamp() end
        where k.consumer = $1 and k.stream = $2 and k.aggregate_id = $3 and k.sequence = $4 returning k.state, k.event_id, k.event_type
    $next$ using p_consumer, p_stream, p_aggregate_id, v_last + 1
    loop
      is_due := is_due or v_row.state in ('early', 'failing');
      if v_row.state = 'discarded' and not v_is_discarded then
        v_is_discarded := true;
        insert into eventing.applied (consumer, stream, aggregate_id, sequence, event_id, event_type)
          values (p_consumer, p_stream, p_aggregate_id, v_last + 1, v_row.event_id, v_row.event_type) on conflict do nothing;
      end if;
    end loop;
    exit when not v_is_discarded;
    v_last := v_last + 1;
  end loop;
  update eventing.cursor c set last_sequence = v_last
    where c.consumer = p_consumer and c.stream = p_stream and c.aggregate_id = p_aggregate_id;
end $$;
revoke all on function eventing.receive_1 from public;
grant execute on function eventing.receive_1 to $roles_app;
`;

// Whether the row that was read is the message that was received.
const IS_SAME = `(v_message.is_verified or (v_row.event_id, v_row.topic, v_row.target) = (v_message.event_id, v_message.topic, v_message.target)
      and (v_row.envelope ->> 'type', v_row.envelope ->> 'subject', v_row.envelope ->> 'time') = (v_message.type, v_message.subject, v_message.time)
      and (v_row.envelope ->> 'sequence')::bigint = v_message.sequence and v_row.envelope -> 'data' = v_message.data)`;

const confirm = `
-- Records messages as published that were received back from their topic, and returns their ids: of those that wait to be confirmed and are as
-- they were sent. By its id alone, which others can read, a forged message could remove the real one from the outbox.
-- p_messages: [{"id", "event_id", "topic", "target", "type", "subject", "sequence", "time", "data"}], or {"id", "is_verified": true}
create function eventing.confirm_1(p_messages jsonb) returns setof uuid language plpgsql set enable_seqscan = off as $$
declare
  v_message record;
  v_row record;
  v_is_same boolean;
begin
  -- The commit does not wait for the disk: a confirmation that a crash of PostgreSQL loses costs a repeat.
  perform set_config('synchronous_commit', 'off', true);
  for v_message in
    select m.id, m.event_id, m.topic, m.target, m.type, m.subject, m.sequence, m.time, m.data, coalesce(m.is_verified, false) as is_verified
      from jsonb_to_recordset(p_messages) as m(id uuid, event_id uuid, topic text, target text, type text, subject text, sequence bigint,
        time text, data jsonb, is_verified boolean)
      -- As the relay locks them.
      order by m.id
  loop
    -- By the id alone: with more conditions, a plan that is kept from when the table was empty may use another index.
    -- A message can be received back before it is recorded as sent: then the present is the latest moment that can be true.
    select o.event_id, o.channel, o.topic, o.target, o.envelope, o.attempts, o.created_at, clock_timestamp() as relayed_at into v_row
      from eventing.outbox o where o.id = v_message.id for update;
    if found then
      v_is_same := ${IS_SAME};
      if v_is_same then delete from eventing.outbox o where o.id = v_message.id; end if;
    else
      select o.event_id, o.channel, o.topic, o.target, o.envelope, o.attempts, o.created_at, o.relayed_at into v_row
        from eventing.relayed o where o.id = v_message.id for update;
      v_is_same := found and ${IS_SAME};
      if v_is_same then delete from eventing.relayed o where o.id = v_message.id; end if;
    end if;
    if v_is_same then
      insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
        values (v_message.id, v_row.event_id, v_row.channel, v_row.topic, v_row.target, v_row.attempts, v_row.created_at, v_row.relayed_at)
        on conflict (id) do nothing;
      return next v_message.id;
    end if;
  end loop;
end $$;
revoke all on function eventing.confirm_1 from public;
grant execute on function eventing.confirm_1 to $roles_app;
`;
