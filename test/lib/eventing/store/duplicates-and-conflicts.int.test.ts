import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import { readEnvelope } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { discard } from '#eventing/dead-letters';
import { Inbox } from '#eventing/inbox';
import { confirm } from '../../../support/confirm.ts';
import { eventually } from '../../../support/eventually.ts';
import { eventOf, type Fixture, type Lamp, openFixture } from '../fixture.ts';
import { deferredOf, installInspectedLamp, internalMessagesOf, startOwnApps } from './own-apps.ts';

let fixture: Fixture;
const errors: string[] = [];
const log = { warn: () => undefined, error: (_: object, message: string) => void errors.push(message) };
beforeAll(async () => {
  fixture = await openFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());
beforeEach(() => {
  errors.length = 0;
});

const ownApps = () => startOwnApps(fixture, log);
const deferred = (name: string) => deferredOf(fixture, name);
const messagesOf = (lamp: Lamp) => internalMessagesOf(fixture, lamp);
const inspectedLamp = () => installInspectedLamp(fixture);

test('messages delivered twice and shuffled leave no dead letter; each event is broadcast once', async () => {
  await fc.assert(
    fc.asyncProperty(fc.shuffledSubarray([0, 0, 1, 1, 0, 1], { minLength: 6 }), async (order) => {
      await using apps = ownApps();
      const lamp = await inspectedLamp();
      const messages = await messagesOf(lamp);
      for (const i of order) await apps.receive(messages[i]!);
      for (const external of await fixture.database.sql<{ envelope: object }>(
        `select envelope from eventing.outbox where channel = 'external' and ordering_key = $1`,
        [lamp.id],
      ))
        for (let n = 0; n < 2; n++) await apps.receive(external.envelope, 'lamp-external');
      await eventually(async () => expect(await published(lamp.id)).toEqual([2, 2]));
      expect(await deferred(apps.appId)).toEqual([]);
      expect(await deferred(apps.consumer.name)).toEqual([]);
      expect(errors).toEqual([]);
    }),
    { numRuns: 8 },
  );
});

/** Confirms what is still in the outbox. @returns the numbers of a lamp's published messages, internal and external */
async function published(aggregateId: string): Promise<number[]> {
  const waiting = await fixture.database.sql<{ envelope: object }>(
    'select envelope from eventing.outbox where ordering_key = $1',
    [aggregateId],
  );
  await confirm(fixture.database, ...waiting.map(({ envelope }) => readEnvelope(envelope).messageId));
  const rows = await fixture.database.sql<{ n: number }>(
    `select count(*)::int as n from eventing.published p join eventing.event_store e on e.id = p.event_id
      where e.aggregate_id = $1 group by p.channel`,
    [aggregateId],
  );
  return rows.map(({ n }) => n);
}

describe('An event of another system, whose event store is not available,', () => {
  const consumer = (fails = false): Consumer => ({
    name: `follower-${uuid()}`,
    order: 'ordered',
    types: 'all',
    handle: async () => {
      if (fails) throw new Error('cannot');
    },
  });
  const open = (maxAttempts = 8) => new Inbox(fixture.orm, { ownSource: '/other', maxAttempts, log });

  test('that is not after the cursor is a duplicate if its id is known, else a conflict', async () => {
    await using inbox = open();
    const follower = consumer();
    const id = uuid();
    const [first, second] = [eventOf(id, 1), eventOf(id, 2)];
    for (const event of [first, second, first, second, first]) await inbox.deliver(follower, event);
    await expect(inbox.deliver(follower, eventOf(id, 1))).rejects.toThrow(`was applied as event ${first.eventId}`);
    await expect(inbox.deliver(follower, eventOf(id, 2))).rejects.toThrow(`was applied as event ${second.eventId}`);
  });

  test('that has the id of an applied event and another type is a conflict', async () => {
    await using inbox = open();
    const follower = consumer();
    const event = eventOf(uuid(), 1);
    await inbox.deliver(follower, { ...event, type: 'lamp.removed' });
    await expect(inbox.deliver(follower, event)).rejects.toThrow(`was applied as event ${event.eventId} lamp.removed`);
  });

  test('that is not after the cursor is a duplicate once the applied ids have expired', async () => {
    await using inbox = open();
    const follower = consumer();
    const id = uuid();
    await inbox.deliver(follower, eventOf(id, 1));
    await fixture.database.sql('delete from eventing.applied where aggregate_id = $1', [id]);
    await inbox.deliver(follower, eventOf(id, 1));
    expect(await deferred(follower.name)).toEqual([]);
  });

  test('that arrives out of order is a dead letter when another event has its sequence', async () => {
    await using inbox = open();
    const follower = consumer();
    inbox.start([follower]);
    const id = uuid();
    for (const event of [eventOf(id, 2), eventOf(id, 2), eventOf(id, 1)]) await inbox.deliver(follower, event);
    await eventually(async () => expect(await deferred(follower.name)).toMatchObject([{ state: 'dead' }]));
    expect((await deferred(follower.name))[0]!.last_error).toMatch(/^ConflictError: sequence 2 of /);
  });

  test('that has the sequence of a discarded event is a conflict', async () => {
    await using inbox = open(1);
    const follower = consumer(true);
    const id = uuid();
    const [forged, real] = [eventOf(id, 1), eventOf(id, 1)];
    await inbox.deliver(follower, forged);
    expect(await discard(fixture.orm.em.fork(), follower, forged.eventId, '/other')).toBe('discarded');
    await expect(inbox.deliver(follower, real)).rejects.toThrow(`was applied as event ${forged.eventId}`);
  });

  test('that has the id of a deferred event and another sequence is a conflict', async () => {
    await using inbox = open();
    const follower = consumer();
    const real = eventOf(uuid(), 1);
    await inbox.deliver(follower, { ...real, sequence: 5 });
    await expect(inbox.deliver(follower, real)).rejects.toThrow('is deferred as sequence 5');
  });
});
