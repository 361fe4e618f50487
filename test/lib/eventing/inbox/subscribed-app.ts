import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Koa from 'koa';
import { v7 as uuid } from 'uuid';
import { envelope } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { daprSubscriptions } from '#eventing/dapr-subscriptions';
import { Inbox } from '#eventing/inbox';
import { Receiver, type Subscriber } from '#eventing/receiver';
import { Recorder } from '#eventing/recorder';
import { execute } from '#eventing/sql';
import { listen } from '#http/listen';
import { type Fixture, openFixture } from '../fixture.ts';

/** The number of warnings logged so far. */
export let warnings = 0;
const log = { warn: () => void warnings++, error: () => undefined };
/** Opened by `open`, disposed by `close`. */
export let fixture: Fixture;
export let server: Server & AsyncDisposable;
let receiver: Receiver;
export let inbox: Inbox;
export const names = { first: `first-${uuid()}`, second: `second-${uuid()}`, inOrder: `in-order-${uuid()}` };
/** Whether a consumer fails from now on. */
export const fails = { second: false };

/** Calls of `received`: the message id where it is known, else the topic. */
export const receipts: string[] = [];

/** Starts an app that receives three topics from Dapr; the effect of its consumers is a row of the table `handled`. */
export async function open() {
  fixture = await openFixture();
  await fixture.database.sql('create table handled (consumer text, event_id uuid); grant all on handled to lamp_app');
  inbox = new Inbox(fixture.orm, { ownSource: '/other', log });
  const consumer = (name: string, fail: () => boolean, how: Partial<Consumer> = {}): Consumer => ({
    name,
    order: 'convergent',
    types: 'all',
    ...how,
    async handle(em, event) {
      await execute(em, 'insert into handled values (?, ?)', [name, event.eventId]);
      if (fail()) throw new Error('fails on request');
    },
  });
  const topics: Record<string, Subscriber> = {
    'lamp-internal': {
      source: '/lamp',
      consumers: [consumer(names.first, () => false), consumer(names.second, () => fails.second)],
    },
    'lamp-recorded': { source: '/lamp', recorder: new Recorder(fixture.orm) },
    'lamp-external': {
      source: '/lamp',
      consumers: [
        consumer(names.inOrder, () => false, { order: 'ordered', types: ['lamp.inspected'] }),
        consumer(names.first, () => false, { types: ['lamp.inspected'] }),
      ],
    },
  };
  const received = (topic: string, messageId?: string) => void receipts.push(messageId ?? topic);
  receiver = new Receiver({ orm: fixture.orm, appId: 'porch', topics, inbox, received, log });
  inbox.startBodies('porch', (due) => receiver.redeliver(due));
  const app = new Koa();
  app.silent = true;
  app.use(daprSubscriptions({ topics: Object.keys(topics), receiver, received, log }));
  server = await listen(app, { port: 0, host: '127.0.0.1' });
}
export async function close() {
  await server[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
  await inbox[Symbol.asyncDispose]();
  await fixture[Symbol.asyncDispose]();
}

export function event(change: object = {}) {
  const id = uuid();
  return envelope({
    id,
    source: '/lamp',
    type: 'lamp.inspected',
    subject: uuid(),
    time: new Date().toISOString(),
    eventid: uuid(),
    sequence: '0000000001',
    traceparent: '',
    data: {},
    ...change,
  });
}

export async function deliver(
  body: RequestInit['body'],
  { topic = 'lamp-internal', headers = {} }: { topic?: string; headers?: Record<string, string> } = {},
) {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/events/${topic}`, {
    method: 'POST',
    headers: { 'content-type': 'application/cloudevents+json', ...headers },
    body,
    duplex: 'half',
  } as RequestInit);
  return { status: response.status, body: await response.text() };
}

export const handledBy = async (eventId: string) =>
  (await fixture.database.sql<{ consumer: string }>('select consumer from handled where event_id = $1', [eventId]))
    .map(({ consumer }) => consumer)
    .sort();
export const SUCCESS = { status: 200, body: JSON.stringify({ status: 'SUCCESS' }) };
/** Returns the deferred deliveries of all consumers, oldest first. */
export const allDeferred = () =>
  fixture.database.sql<{ consumer: string; event_id: string; state: string; raw: string | null; last_error: string }>(
    'select * from eventing.kept_delivery order by received_at',
  );
