import { v7 as uuid } from 'uuid';
import { Recorder } from '#eventing/recorder';
import { eventually } from '../../support/eventually.ts';
import { type Lab, openLab } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab[Symbol.asyncDispose]());

const delivery = async (id: string) => {
  const rows = await lab.database.sql(
    'select relayed_at is not null as relayed, published_at is not null as published from eventing.delivery where id = $1',
    [id],
  );
  return rows;
};

async function waiting(): Promise<string> {
  const id = uuid();
  await lab.database.sql(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope) values ($1, $2, 'internal', 'lamp-internal', 'k', '{}')`,
    [id, uuid()],
  );
  return id;
}

const MOVE = `with gone as (delete from eventing.outbox where id = $1 returning *)
  insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
  select id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, now() + interval '5 min' from gone`;

test('a relayed message that comes back is published, and stays so when it comes back again', async () => {
  const recorder = new Recorder(lab.orm);
  const id = await waiting();
  await lab.database.sql(MOVE, [id]);
  expect(await delivery(id)).toEqual([{ relayed: true, published: false }]);
  await recorder.cameBack(id);
  await recorder.cameBack(id);
  expect(await delivery(id)).toEqual([{ relayed: true, published: true }]);
});

test('a message that is back before the relay has noted that it sent it is published, and the relay’s note changes nothing', async () => {
  const recorder = new Recorder(lab.orm);
  const id = await waiting();
  await recorder.cameBack(id);
  await lab.database.sql(MOVE, [id]);
  expect(await delivery(id)).toEqual([{ relayed: true, published: true }]);
});

test('a message that comes back while the relay is noting it is published', async () => {
  const recorder = new Recorder(lab.orm);
  const id = await waiting();
  await lab.database.sql('begin');
  await lab.database.sql(MOVE, [id]);
  const back = recorder.cameBack(id);
  await eventually(async () => {
    const waiting = await lab.database.sql('select 1 from pg_locks where not granted');
    return waiting.length > 0;
  });
  await lab.database.sql('commit');
  await back;
  expect(await delivery(id)).toEqual([{ relayed: true, published: true }]);
});

test('messages of others are none of its business', async () => {
  await new Recorder(lab.orm).cameBack(uuid());
  expect(await lab.database.sql('select 1 from eventing.published where topic is null')).toEqual([]);
});

test('many that come back at once are all published', async () => {
  const recorder = new Recorder(lab.orm);
  const ids = await Promise.all(Array.from({ length: 50 }, waiting));
  await Promise.all(ids.map((id) => recorder.cameBack(id)));
  const [{ count } = { count: 0 }] = await lab.database.sql<{ count: number }>(
    'select count(*)::int from eventing.published where id = any($1)',
    [ids],
  );
  expect(count).toBe(50);
});
