import type { AddressInfo } from 'node:net';
import { v7 as uuid } from 'uuid';
import { type Consumer, Inbox } from '#eventing/inbox';
import { Recorder } from '#eventing/recorder';
import { Health } from '#service/health';
import { createApi } from '#service/http';
import { createLog } from '#service/log';
import { operatorRoutes } from '#service/operator-routes';
import { listen } from '#service/run';
import { type Lab, Lamp, openLab } from '../eventing/lab.ts';

let lab: Lab;
let server: Awaited<ReturnType<typeof listen>>;
const failing: Consumer = {
  name: 'failing',
  order: 'ordered',
  types: 'all',
  handle: async () => {
    throw new Error('no');
  },
};

beforeAll(async () => {
  lab = await openLab();
  const app = createApi({
    title: 'lab',
    version: '1',
    description: 'lab',
    routes: operatorRoutes(lab.keyring, [failing]),
    log: createLog('lab', 'fatal'),
    orm: lab.orm,
    authenticate: async (token) =>
      token === 'operator' ? { kind: 'operator' } : token === 'reader' ? { kind: 'reader', name: 'x' } : undefined,
    health: new Health({}),
  });
  server = await listen(app, { port: 0, host: '127.0.0.1' });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

async function ask(method: string, path: string, token = 'operator') {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}

async function inspectedLamp(): Promise<Lamp> {
  const em = lab.orm.em.fork();
  const lamp = Lamp.install('hall');
  lamp.inspect('it flickered');
  em.persist(lamp);
  await em.flush();
  return lamp;
}

test('operators see the journey of each of an aggregate’s events, with its reason and without its values', async () => {
  const lamp = await inspectedLamp();
  const { body } = await ask('GET', `/v1/events?aggregateId=${lamp.id}`);
  expect(body.events).toMatchObject([
    {
      type: 'lamp.installed',
      sequence: 1,
      attributes: ['place'],
      messages: [{ channel: 'internal', publishedAt: null }],
      handledBy: [],
    },
    { type: 'lamp.inspected', sequence: 2, attributes: [], reason: 'it flickered' },
  ]);
  expect(JSON.stringify(body)).not.toContain('hall');
  const one = await ask('GET', `/v1/events/${body.events[0].id}`);
  expect(one.body).toEqual(body.events[0]);
  const rest = await ask('GET', `/v1/events?aggregateId=${lamp.id}&after=1&limit=1`);
  expect(rest.body.events).toHaveLength(1);
});

test('an event that nobody here stated or heard is not found', async () => {
  expect(await ask('GET', `/v1/events/${uuid()}`)).toMatchObject({ status: 404, body: { slug: 'event-not-found' } });
});

test('readers may see how far aggregates go, and nothing else', async () => {
  const lamp = await inspectedLamp();
  const { body } = await ask('GET', '/v1/event-heads', 'reader');
  expect(body.heads).toContainEqual({ aggregateId: lamp.id, sequence: 2 });
  for (const path of ['/v1/events', '/v1/dead-letters', '/v1/parked-messages']) {
    expect((await ask('GET', path, 'reader')).status).toBe(403);
    expect((await ask('GET', path, 'nobody')).status).toBe(401);
  }
});

test('readers may see what came back last on a topic', async () => {
  const lamp = await inspectedLamp();
  const path = '/v1/topics/lamp-internal/latest-event';
  expect(await ask('GET', path, 'reader')).toMatchObject({ status: 404, body: { slug: 'nothing-published' } });
  const messages = await lab.database.sql<{ id: string; event_id: string }>(
    `select id, event_id from eventing.outbox where ordering_key = $1 order by position`,
    [lamp.id],
  );
  const recorder = new Recorder(lab.orm);
  for (const [i, { id, event_id: eventId }] of messages.entries()) {
    await recorder.cameBack(id);
    const expected = { eventId, aggregateId: lamp.id, sequence: i + 1 };
    expect(await ask('GET', path, 'reader')).toEqual({ status: 200, body: expected });
  }
  expect((await ask('GET', '/v1/topics/a%20b/latest-event')).status).toBe(400);
});

test('a dead letter can be looked at, redriven, and discarded', async () => {
  await using inbox = new Inbox(lab.orm, { maxAttempts: 1, log: { warn: () => undefined, error: () => undefined } });
  const event = {
    messageId: uuid(),
    eventId: uuid(),
    type: 'lamp.inspected',
    source: '/lamp',
    aggregateId: uuid(),
    sequence: 1,
    target: 'ALL',
    time: new Date().toISOString(),
    data: {},
  };
  const path = `/v1/dead-letters/failing/${event.eventId}`;
  await inbox.deliver(failing, event);
  const { body } = await ask('GET', '/v1/dead-letters');
  expect(body.deliveries).toMatchObject([
    { consumer: 'failing', eventId: event.eventId, state: 'dead', lastError: 'Error: no' },
  ]);
  expect((await ask('GET', path)).body.event).toEqual(event);
  expect((await ask('POST', `${path}/redrive`)).status).toBe(204);
  expect((await ask('GET', '/v1/dead-letters?state=failing')).body.deliveries).toHaveLength(1);
  expect(await ask('POST', `${path}/discard`)).toMatchObject({ status: 404 });
  await lab.database.sql(
    `update eventing.kept_delivery set state = 'dead', next_attempt_at = null where event_id = $1`,
    [event.eventId],
  );
  expect((await ask('POST', `${path}/discard`)).status).toBe(204);
  const cursors = await lab.database.sql(`select last_sequence from eventing.cursor where consumer = 'failing'`);
  expect(cursors).toEqual([{ last_sequence: '1' }]);
});

test('a parked message is listed and can be let go', async () => {
  const lamp = await inspectedLamp();
  const [message] = await lab.database.sql<{ id: string }>(
    `update eventing.outbox set parked_at = now(), attempts = 5, last_error = 'too large' where ordering_key = $1
       and position = (select min(position) from eventing.outbox where ordering_key = $1) returning id`,
    [lamp.id],
  );
  const { body } = await ask('GET', '/v1/parked-messages');
  expect(body.messages).toMatchObject([{ id: message!.id, orderingKey: lamp.id, attempts: 5, lastError: 'too large' }]);
  expect((await ask('POST', `/v1/parked-messages/${message!.id}/release`)).status).toBe(204);
  expect((await ask('POST', `/v1/parked-messages/${message!.id}/release`)).status).toBe(404);
  expect((await ask('GET', '/v1/parked-messages')).body.messages).toEqual([]);
});
