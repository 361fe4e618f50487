import { v7 as uuid } from 'uuid';
import { Recorder } from '#eventing/recorder';
import { eventually } from '../../../support/eventually.ts';
import { type Fixture, openFixture } from '../fixture.ts';

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const statusOf = async (id: string) => {
  const rows = await fixture.database.sql(
    'select relayed_at is not null as relayed, published_at is not null as published from eventing.delivery where id = $1',
    [id],
  );
  return rows;
};

async function enqueue(): Promise<string> {
  const id = uuid();
  await fixture.database.sql(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope) values ($1, $2, 'internal', 'lamp-internal', 'k', '{}')`,
    [id, uuid()],
  );
  return id;
}

const MOVE = `with moved as (delete from eventing.outbox where id = $1 returning *)
  insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
  select id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, now() + interval '5 min' from moved`;

test('a relayed message is published when confirmed, also when confirmed twice', async () => {
  const recorder = new Recorder(fixture.orm);
  const id = await enqueue();
  await fixture.database.sql(MOVE, [id]);
  expect(await statusOf(id)).toEqual([{ relayed: true, published: false }]);
  await recorder.confirm(id);
  await recorder.confirm(id);
  expect(await statusOf(id)).toEqual([{ relayed: true, published: true }]);
});

test('a message confirmed before the relay marks it as sent stays published', async () => {
  const recorder = new Recorder(fixture.orm);
  const id = await enqueue();
  await recorder.confirm(id);
  await fixture.database.sql(MOVE, [id]);
  expect(await statusOf(id)).toEqual([{ relayed: true, published: true }]);
});

test('a message confirmed while the relay marks it as sent is published', async () => {
  const recorder = new Recorder(fixture.orm);
  const id = await enqueue();
  await fixture.database.sql('begin');
  await fixture.database.sql(MOVE, [id]);
  const confirming = recorder.confirm(id);
  await eventually(async () => {
    const waiting = await fixture.database.sql('select 1 from pg_locks where not granted');
    return waiting.length > 0;
  });
  await fixture.database.sql('commit');
  await confirming;
  expect(await statusOf(id)).toEqual([{ relayed: true, published: true }]);
});

test('a confirmation does not wait for the disk, and later transactions of the connection do', async () => {
  await fixture.database.sql(`
    create table setting (name text);
    grant insert on setting to public;
    create function note() returns trigger language plpgsql as $$ begin insert into setting values (current_setting('synchronous_commit')); return new; end $$;
    create trigger note after insert on eventing.published for each row execute function note()`);
  try {
    await new Recorder(fixture.orm).confirm(await enqueue());
    expect(await fixture.database.sql('select name from setting')).toEqual([{ name: 'off' }]);
    expect(await fixture.orm.em.fork().execute('show synchronous_commit')).toEqual([{ synchronous_commit: 'on' }]);
  } finally {
    await fixture.database.sql('drop trigger note on eventing.published; drop function note; drop table setting');
  }
});

test('an unknown message id is ignored', async () => {
  await new Recorder(fixture.orm).confirm(uuid());
  expect(await fixture.database.sql('select 1 from eventing.published where topic is null')).toEqual([]);
});

test('messages confirmed concurrently are all published', async () => {
  const recorder = new Recorder(fixture.orm);
  const ids = await Promise.all(Array.from({ length: 50 }, enqueue));
  await Promise.all(ids.map((id) => recorder.confirm(id)));
  const [{ count } = { count: 0 }] = await fixture.database.sql<{ count: number }>(
    'select count(*)::int from eventing.published where id = any($1)',
    [ids],
  );
  expect(count).toBe(50);
});
