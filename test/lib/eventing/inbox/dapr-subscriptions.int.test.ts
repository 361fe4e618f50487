import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { v7 as uuid } from 'uuid';
import { redrive } from '#eventing/dead-letters';
import { eventually } from '../../../support/eventually.ts';
import {
  allDeferred,
  close,
  deliver,
  event,
  fails,
  fixture,
  handledBy,
  names,
  open,
  receipts,
  SUCCESS,
  server,
  warnings,
} from './subscribed-app.ts';

beforeAll(open);
afterAll(close);

const RETRY = { status: 200, body: JSON.stringify({ status: 'RETRY' }) };

test('one delivery reaches every consumer of the topic', async () => {
  const delivered = event();
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  expect(await handledBy(delivered.eventid)).toEqual([names.first, names.second]);
});

test('an event with data that PostgreSQL cannot store is deferred when its consumer fails', async () => {
  const delivered = event({ data: { odd: '\0 \ud800' } });
  fails.second = true;
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  fails.second = false;
  const deferred = await fixture.database.sql('select state from eventing.kept_delivery where event_id = $1', [
    delivered.eventid,
  ]);
  expect(deferred).toEqual([{ state: 'failing' }]);
});

test('a failing consumer defers its delivery and does not block other consumers', async () => {
  const delivered = event();
  fails.second = true;
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  fails.second = false;
  expect(await handledBy(delivered.eventid)).toEqual([names.first]);
  const deferred = await fixture.database.sql(
    'select consumer, state from eventing.kept_delivery where event_id = $1',
    [delivered.eventid],
  );
  expect(deferred).toEqual([{ consumer: names.second, state: 'failing' }]);
});

test('a message for another target is confirmed and not handled', async () => {
  const { id: lampId } = await fixture.install();
  const [row] = await fixture.database.sql<{ envelope: { id: string; eventid: string } }>(
    `update eventing.outbox set target = 'another-app', topic = 'lamp-recorded' where ordering_key = $1 returning envelope`,
    [lampId],
  );
  const delivered = { ...row!.envelope, target: 'another-app' };
  const topic = 'lamp-recorded';
  expect(await deliver(JSON.stringify(delivered), { topic })).toEqual(SUCCESS);
  expect(await handledBy(delivered.eventid)).toEqual([]);
  // It is confirmed after it is acknowledged.
  const published = () => fixture.database.sql('select 1 from eventing.published where id = $1', [delivered.id]);
  await eventually(async () => expect(await published()).toHaveLength(1));
});

test('each delivery is reported as received, with its message id once it is readable', async () => {
  receipts.length = 0;
  const delivered = event({ target: 'another-app' });
  await deliver(JSON.stringify(delivered));
  await deliver('no event');
  expect(receipts).toEqual(['lamp-internal', delivered.id, 'lamp-internal']);
});

test('a message for this app is handled', async () => {
  const delivered = event({ target: 'porch' });
  await deliver(JSON.stringify(delivered));
  expect(await handledBy(delivered.eventid)).toHaveLength(2);
});

test('an event from another source on the topic is a dead letter and is not handled', async () => {
  const foreign = event({ source: '/stranger' });
  expect(await deliver(JSON.stringify(foreign))).toEqual(SUCCESS);
  expect(await handledBy(foreign.eventid)).toEqual([]);
  const deferred = await fixture.database.sql<{ raw: string; last_error: string }>(
    `select raw, last_error from eventing.kept_delivery where raw is not null`,
  );
  expect(deferred.map(({ raw }) => raw)).toContain(JSON.stringify(foreign));
  expect(deferred.map(({ last_error }) => last_error)).toContain(
    'ConflictError: received an event of /stranger on lamp-internal, where only /lamp may publish',
  );
});

test.each(['dapr-caller-app-id', 'dapr-callee-app-id'])(
  'an event sent by service invocation is a dead letter and is not applied (%s)',
  async (name) => {
    const forged = event();
    expect(await deliver(JSON.stringify(forged), { headers: { [name]: 'another-app' } })).toEqual(SUCCESS);
    expect(await handledBy(forged.eventid)).toEqual([]);
    const rows = await fixture.database.sql<{ event_id: string; state: string; last_error: string }>(
      'select event_id, state, last_error from eventing.kept_delivery where raw like $1',
      [`invoked by %: ${JSON.stringify(forged)}`],
    );
    expect(rows).toMatchObject([{ state: 'dead', last_error: 'Error: invoked by an app, not delivered from a topic' }]);
    expect(await redrive(fixture.orm.em.fork(), 'porch:body', rows[0]!.event_id)).toMatchObject({
      unreadable: 'Error: the body is not JSON',
    });
  },
);

describe('A late event', () => {
  const deliverOn = (topic: string) => (change: object) => deliver(JSON.stringify(event(change)), { topic });
  const deliverLate = deliverOn('lamp-external');
  const applied = (subject: string) =>
    fixture.database.sql<{ consumer: string; last_sequence: string }>(
      'select consumer, last_sequence from eventing.cursor where aggregate_id = $1',
      [subject],
    );

  test('is applied when it was not applied before, even years later', async () => {
    const old = { eventid: uuid(), time: '2001-01-01T00:00:00.000Z' };
    expect(await deliverLate(old)).toEqual(SUCCESS);
    expect(await handledBy(old.eventid)).toEqual([names.first, names.inOrder]);
  });

  test.each(['lamp-internal', 'lamp-external'])(
    'that was applied before is acknowledged without a second effect: %s',
    async (topic) => {
      const before = await allDeferred();
      const sameEvent = { eventid: uuid(), subject: uuid(), time: '2001-01-01T00:00:00.000Z' };
      expect(await deliverOn(topic)(sameEvent)).toEqual(SUCCESS);
      const once = await handledBy(sameEvent.eventid);
      expect(once).toHaveLength(2);
      // A re-send carries the same event in another message; a redelivery is the same message.
      const again = event(sameEvent);
      for (let i = 0; i < 3; i++) expect(await deliver(JSON.stringify(again), { topic })).toEqual(SUCCESS);
      expect(await handledBy(sameEvent.eventid)).toEqual(once);
      expect(await allDeferred()).toEqual(before);
    },
  );

  test.each([1, 2, 3])('whose aggregate has advanced is acknowledged and does not move it back: %i of 3', async (n) => {
    const before = await allDeferred();
    const subject = uuid();
    const events = [1, 2, 3].map((i) => event({ subject, sequence: `000000000${i}` }));
    for (const each of events) expect(await deliver(JSON.stringify(each), { topic: 'lamp-external' })).toEqual(SUCCESS);
    expect(await deliverLate({ subject, sequence: `000000000${n}`, eventid: events[n - 1]!.eventid })).toEqual(SUCCESS);
    expect(await handledBy(events[n - 1]!.eventid)).toEqual([names.first, names.inOrder]);
    expect(await applied(subject)).toEqual([{ consumer: names.inOrder, last_sequence: '3' }]);
    expect(await allDeferred()).toEqual(before);
  });
});

test('an unhandled type is acknowledged without effect, and ordered consumers advance past it', async () => {
  const before = await allDeferred();
  const subject = uuid();
  const [unknown, known] = [event({ subject, type: 'lamp.invented-later' }), event({ subject, sequence: '2' })];
  for (const each of [unknown, known])
    expect(await deliver(JSON.stringify(each), { topic: 'lamp-external' })).toEqual(SUCCESS);
  expect(await handledBy(unknown.eventid)).toEqual([]);
  expect(await handledBy(known.eventid)).toEqual([names.first, names.inOrder]);
  expect(await allDeferred()).toEqual(before);
});

test.each(['text/plain', 'application/json', 'application/octet-stream', 'nonsense', ''])(
  'an event is handled with the content type %j',
  async (type) => {
    const delivered = event();
    expect(await deliver(JSON.stringify(delivered), { headers: { 'content-type': type } })).toEqual(SUCCESS);
    expect(await handledBy(delivered.eventid)).toHaveLength(2);
  },
);

test('an event larger than the outbox allows is handled', async () => {
  const delivered = event({ data: { large: 'x'.repeat(3.5 * 1024 * 1024) } });
  expect(await deliver(JSON.stringify(delivered))).toEqual(SUCCESS);
  expect(await handledBy(delivered.eventid)).toHaveLength(2);
});

test('an aborted delivery is neither acknowledged nor stored, so that it is redelivered', async () => {
  const [before, warned] = [await allDeferred(), warnings];
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.end('POST /events/lamp-internal HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"id":');
  expect(await text(socket)).not.toContain('SUCCESS');
  await eventually(() => warnings > warned);
  expect(await allDeferred()).toEqual(before);
});

test('a delivery that can be neither handled nor deferred is answered RETRY', async () => {
  await fixture.database.sql('revoke insert on eventing.kept_delivery from lamp_app');
  expect(await deliver('no event')).toEqual(RETRY);
  await fixture.database.sql('grant insert on eventing.kept_delivery to lamp_app');
  expect(await deliver('no event')).toEqual(SUCCESS);
});

test.each(['other', 'constructor', 'lamp-internal/', 'LAMP-INTERNAL', 'lamp-internal/x'])(
  'a topic without a subscription is not acknowledged: %s',
  async (topic) => {
    expect((await deliver(JSON.stringify(event()), { topic })).status).toBe(404);
  },
);
