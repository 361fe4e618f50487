import { type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { connectNats } from '#eventing-host/jetstream';
import { ADMINISTRATOR, brokerUserNames, brokerUsers, streamLimits, topics } from '../../../local/topology/broker.ts';
import { appTopics, requiredConsumers } from '../../../local/topology/components.ts';
import { API_PREFIX, deliverSubjectOf, durableOf } from '../../../ops/jetstream/accounts.ts';
import { ensureConsumers } from '../../../ops/jetstream/ensure-consumers.ts';
import { ensureStreams } from '../../../ops/jetstream/streams.ts';
import { eventually } from '../../support/eventually.ts';
import { startNats } from '../../support/nats.ts';

const stack = new AsyncDisposableStack();
let manager: JetStreamManager;
const connections: Record<string, NatsConnection> = {};
beforeAll(async () => {
  const passwords = Object.fromEntries(brokerUserNames().map((name) => [name, `of-${name}`]));
  const broker = stack.use(await startNats(brokerUsers(passwords)));
  const url = broker.urlOf(ADMINISTRATOR);
  await ensureStreams(url, topics, streamLimits);
  for (const { topic, apps, ...settings } of requiredConsumers())
    await ensureConsumers(url, { [topic]: apps }, settings);
  for (const name of brokerUserNames()) {
    const connection = await connectNats(broker.urlOf(name));
    stack.defer(() => connection.close());
    connections[name] = connection;
  }
  manager = await jetstreamManager(connections[ADMINISTRATOR]!);
});
afterAll(() => stack.disposeAsync());

const messagesIn = async (topic: string) => (await manager.streams.info(topic)).state.messages;
const forged = JSON.stringify({ source: 'member', type: 'member.withdrawn', data: { sequence: 3 } });
const denied = (subject: string) => expect.stringContaining(`Permissions Violation for Publish to "${subject}"`);
const granted = Object.entries(appTopics());
const apps = granted.map(([app]) => app);

/** Sends a request without the client library's own checks. @returns the answer or the error, as text */
async function request(app: string, subject: string, body: object | string = ''): Promise<string> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const answer = connections[app]!.request(subject, text, { timeout: 2_000 });
  return answer.then((message) => message.string(), String);
}

describe.each(granted)('The broker user of %s', (app, { publishes, consumes }) => {
  const foreign = topics.filter((topic) => !publishes.includes(topic));

  test.each(foreign)('cannot publish a forged event to %s', async (topic) => {
    const before = await messagesIn(topic);
    expect(await request(app, topic, forged)).toEqual(denied(topic));
    expect(await messagesIn(topic)).toBe(before);
  });

  test('can publish to its own topics', async () => {
    for (const topic of publishes) {
      const before = await messagesIn(topic);
      await jetstream(connections[app]!).publish(topic, '{}');
      expect(await messagesIn(topic)).toBe(before + 1);
    }
  });

  test.each([
    ['STREAM.CREATE', { name: 'another', subjects: ['another'] }, 'another'],
    ['STREAM.UPDATE', { name: 'member-internal', subjects: ['member-internal'], max_age: 1 }, 'member-internal'],
    ['STREAM.PURGE', '', 'member-internal'],
    ['STREAM.DELETE', '', 'member-internal'],
    ['STREAM.MSG.GET', { seq: 1 }, 'member-internal'],
    ['STREAM.MSG.DELETE', { seq: 1 }, 'member-internal'],
  ])('cannot request %s', async (what, body, stream) => {
    const subject = `$JS.API.${what}.${stream}`;
    expect(await request(app, subject, body)).toEqual(denied(subject));
    expect((await manager.streams.names().next()).sort()).toEqual([...topics].sort());
  });

  test.each(topics)('cannot read %s through a consumer that it creates', async (topic) => {
    for (const subject of [`$JS.API.CONSUMER.CREATE.${topic}`, `$JS.API.CONSUMER.CREATE.${topic}.mine.${topic}`]) {
      const config = { deliver_subject: '_INBOX.mine', filter_subject: topic };
      expect(await request(app, subject, { stream_name: topic, config })).toEqual(denied(subject));
    }
  });

  test('cannot redirect the deliveries of its consumer to another topic', async () => {
    for (const topic of consumes) {
      const durable = durableOf(app, topic);
      const { config } = await manager.consumers.info(topic, durable);
      const body = { stream_name: topic, config: { ...config, deliver_subject: 'member-internal' } };
      for (const kind of [`CREATE.${topic}.${durable}.${topic}`, `DURABLE.CREATE.${topic}.${durable}`])
        expect(await request(app, `$JS.API.CONSUMER.${kind}`, body)).toEqual(denied(`$JS.API.CONSUMER.${kind}`));
      expect((await manager.consumers.info(topic, durable)).config.deliver_subject).toBe(deliverSubjectOf(durable));
    }
  });

  test('can find its consumers, and receive and acknowledge their messages', async () => {
    for (const topic of consumes) {
      const durable = durableOf(app, topic);
      expect(JSON.parse(await request(app, `${API_PREFIX}.STREAM.NAMES`, { subject: topic }))).toMatchObject({
        streams: [topic],
      });
      const info = JSON.parse(await request(app, `${API_PREFIX}.CONSUMER.INFO.${topic}.${durable}`));
      const subject: string = info.config.deliver_subject;
      const delivery = connections[app]!.subscribe(subject, { queue: durable, max: 1 });
      await manager.jetstream().publish(topic, `for ${durable}`);
      for await (const message of delivery) {
        expect(message.reply).toMatch(`$JS.ACK.${topic}.${durable}.`);
        expect(await request(app, message.reply!, '+ACK')).toBe('');
      }
      await eventually(async () => {
        const { ack_floor } = await manager.consumers.info(topic, durable);
        expect(ack_floor.consumer_seq).toBe(1);
      });
    }
  });

  test('cannot make the server reply to a subject that it may not publish to', async () => {
    const own = connections[app]!;
    const durable = 'publish-recorder-member-internal';
    const replies = [
      '$JS.API.STREAM.DELETE.member-internal',
      '$JS.API.STREAM.PURGE.member-internal',
      `$JS.API.CONSUMER.DELETE.member-internal.${durable}`,
      `${API_PREFIX}.STREAM.DELETE.member-internal`,
      ...foreign,
    ];
    const stored = async () => Promise.all(foreign.map(messagesIn));
    const infos = consumes.map((topic) => `${API_PREFIX}.CONSUMER.INFO.${topic}.${durableOf(app, topic)}`);
    const before = await stored();
    for (const subject of [...publishes, ...infos]) for (const reply of replies) own.publish(subject, '', { reply });
    for (const subject of [...publishes, ...infos]) await request(app, subject);
    expect(await stored()).toEqual(before);
    // The server answers a first acknowledgement with an empty message, which would be a valid delete request.
    for (const topic of consumes)
      for (const body of ['', '+ACK', '+WPI', '+TERM'])
        for (const reply of replies) {
          await manager.streams.purge(topic);
          await manager.jetstream().publish(topic, 'to be acknowledged');
          const delivery = own.subscribe(deliverSubjectOf(durableOf(app, topic)), {
            queue: durableOf(app, topic),
            max: 1,
          });
          for await (const message of delivery) own.publish(message.reply!, body, { reply });
          await own.flush();
          await request(app, `${API_PREFIX}.STREAM.NAMES`);
          expect(await messagesIn(topic)).toBe(1);
        }
    expect((await manager.streams.names().next()).sort()).toEqual([...topics].sort());
    expect((await manager.consumers.info('member-internal', durable)).name).toBe(durable);
  });

  test('cannot delete, pause, read, acknowledge or subscribe to the consumer of another app', async () => {
    const others = granted.flatMap(([other, { consumes }]) =>
      other === app ? [] : consumes.map((topic) => ({ topic, durable: durableOf(other, topic) })),
    );
    expect(others.length).toBeGreaterThan(5);
    for (const { topic, durable } of others) {
      const api = ['DELETE', 'PAUSE', 'MSG.NEXT', 'INFO'].flatMap((what) =>
        ['$JS.API', API_PREFIX].map((prefix) => `${prefix}.CONSUMER.${what}.${topic}.${durable}`),
      );
      for (const subject of [...api, `$JS.ACK.${topic}.${durable}.1.1.1.1.0`])
        expect(await request(app, subject)).toEqual(denied(subject));
      const subscription = connections[app]!.subscribe(deliverSubjectOf(durable), { queue: durable });
      await expect(subscription.closed).resolves.toThrow('Permissions Violation for Subscription');
    }
  });
});

test('the administrator reaches the JetStream API under both prefixes', async () => {
  for (const prefix of ['$JS.API', API_PREFIX])
    expect(JSON.parse(await request(ADMINISTRATOR, `${prefix}.STREAM.NAMES`))).toMatchObject({ total: topics.length });
});

test('every app of the system has a broker user, and workers may publish no event', () => {
  expect(apps).toEqual(
    expect.arrayContaining(['member', 'family-account', 'publish-recorder', 'external-broadcaster']),
  );
  const publishing = granted.filter(([, { publishes }]) => publishes.length > 0);
  expect(publishing.map(([app]) => app)).toEqual(['family-account', 'member']);
});
