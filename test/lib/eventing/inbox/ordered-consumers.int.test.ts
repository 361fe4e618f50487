import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { discard } from '#eventing/dead-letters';
import { applyOnce } from '../../../../lib/eventing/inbox/apply-once.ts';
import { deferFailed } from '../../../../lib/eventing/inbox/deferred-deliveries.ts';
import { eventually } from '../../../support/eventually.ts';
import { eventOf } from '../fixture.ts';
import { close, consumer, deferred, effects, fixture, open, startInbox } from './effects.ts';

beforeAll(open);
afterAll(close);

describe('An ordered consumer', () => {
  test('applies each aggregate’s events in sequence when they arrive shuffled and repeated', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([1, 1, 2, 2, 3, 4, 4, 5, 6], { minLength: 9 }),
        fc.boolean(),
        async (arrivals, atOnce) => {
          const lamp = consumer('ordered');
          await using inbox = startInbox(lamp);
          const id = uuid();
          const events = new Map([1, 2, 3, 4, 5, 6].map((sequence) => [sequence, eventOf(id, sequence)]));
          const deliver = (sequence: number) => inbox.deliver(lamp, events.get(sequence)!);
          if (atOnce) await Promise.all(arrivals.map(deliver));
          else for (const sequence of arrivals) await deliver(sequence);
          await eventually(async () => expect(await effects(lamp)).toEqual([1, 2, 3, 4, 5, 6]));
        },
      ),
      { numRuns: 12 },
    );
  });

  test('reports that a deferred event became due when the event before it is applied', async () => {
    const lamp = consumer('ordered');
    const [first, second] = [1, 2].map((sequence) => eventOf(uuid(), sequence)) as [ReceivedEvent, ReceivedEvent];
    const next = { ...second, aggregateId: first.aggregateId };
    const apply = (event: ReceivedEvent) => applyOnce(fixture.orm, lamp, { event }, { ownSource: '/other' });
    expect(await apply(next)).toMatchObject({ kind: 'deferred' });
    expect(await apply(next)).toMatchObject({ kind: 'deferred' });
    expect(await apply(first)).toEqual({ kind: 'applied', due: true });
    expect(await apply(first)).toEqual({ kind: 'duplicate' });
    expect(await effects(lamp)).toEqual([1]);
  });

  test('reads its dependencies only for the next event in sequence, and always for that one', async () => {
    const reads: number[] = [];
    const lamp = consumer('ordered');
    const reading: Consumer<number> = {
      ...lamp,
      read: async (event) => reads.push(event.sequence),
      handle: async (em, event, answer) => {
        expect(answer).toBeGreaterThan(0);
        await lamp.handle(em, event, answer);
      },
    };
    await using inbox = startInbox(reading as Consumer);
    const id = uuid();
    const events = [1, 2, 3].map((sequence) => eventOf(id, sequence));
    await inbox.deliver(reading as Consumer, events[2]!);
    await inbox.deliver(reading as Consumer, events[1]!);
    expect(reads).toEqual([]);
    await inbox.deliver(reading as Consumer, events[0]!);
    await eventually(async () => expect(await effects(lamp)).toEqual([1, 2, 3]));
    expect(reads).toEqual([1, 2, 3]);
  });

  test('applies an out-of-order event that met an outage when its turn comes', async () => {
    const lamp = consumer('ordered');
    await using inbox = startInbox(lamp);
    const id = uuid();
    const [first, second, third] = [1, 2, 3].map((sequence) => eventOf(id, sequence));
    const error = Object.assign(new Error('statement time-out'), { code: '57014' });
    await deferFailed(fixture.orm, lamp, { event: second! }, { error, maxAttempts: 3, backoffMs: 5 });
    await inbox.deliver(lamp, third!);
    await fixture.database.sql('update eventing.kept_delivery set next_attempt_at = now() where event_id = $1', [
      second!.eventId,
    ]);
    inbox.wake();
    await eventually(async () =>
      expect(await deferred(lamp)).toMatchObject([
        { sequence: '2', state: 'early', next_attempt_at: null },
        { sequence: '3', state: 'early' },
      ]),
    );
    await inbox.deliver(lamp, first!);
    await eventually(async () => expect(await effects(lamp)).toEqual([1, 2, 3]));
  });

  test('skips an event that was discarded before its turn', async () => {
    const lamp = consumer('ordered');
    await using inbox = startInbox(lamp);
    const id = uuid();
    const [first, second, third, fourth] = [1, 2, 3, 4].map((sequence) => eventOf(id, sequence));
    for (const event of [second!, third!]) {
      await deferFailed(fixture.orm, lamp, { event }, { error: new Error('no'), maxAttempts: 1, backoffMs: 5 });
      expect(await discard(fixture.orm.em.fork(), lamp, event.eventId, '/other')).toBe('discarded');
    }
    await inbox.deliver(lamp, fourth!);
    await inbox.deliver(lamp, first!);
    await eventually(async () => expect(await effects(lamp)).toEqual([1, 4]));
  });

  test('blocks only the aggregate whose event fails, until an operator discards the event', async () => {
    const [bad, good] = [uuid(), uuid()];
    const lamp = consumer('ordered', (event) => {
      if (event.aggregateId === bad && event.sequence === 1) throw new Error('poison');
    });
    await using inbox = startInbox(lamp);
    const poison = eventOf(bad, 1);
    await inbox.deliver(lamp, poison);
    await inbox.deliver(lamp, eventOf(bad, 2));
    await inbox.deliver(lamp, eventOf(good, 1));
    await eventually(async () => {
      inbox.wake();
      expect(await deferred(lamp)).toMatchObject([
        { sequence: '1', state: 'dead' },
        { sequence: '2', state: 'early' },
      ]);
    });
    expect(await effects(lamp)).toEqual([1]);

    expect(await discard(fixture.orm.em.fork(), lamp, poison.eventId, '/other')).toBe('discarded');
    inbox.wake();
    await eventually(async () => expect(await effects(lamp)).toEqual([1, 2]));
    await eventually(async () => expect(await deferred(lamp)).toMatchObject([{ sequence: '1', state: 'discarded' }]));
  });

  test('advances past events of types that it does not handle', async () => {
    const lamp = { ...consumer('ordered'), types: ['lamp.removed'] };
    await using inbox = startInbox(lamp);
    const id = uuid();
    await inbox.deliver(lamp, eventOf(id, 2, { type: 'lamp.removed' }));
    await inbox.deliver(lamp, eventOf(id, 1));
    await eventually(async () => expect(await effects(lamp)).toEqual([2]));
  });
});
