import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { discard, redrive } from '#eventing/dead-letters';
import { bodiesOf } from '../../../../lib/eventing/inbox/deferred-bodies.ts';
import { eventually } from '../../../support/eventually.ts';
import { type Fixture, type Lamp, openFixture } from '../fixture.ts';
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

const ownApps = (consumer?: Consumer) => startOwnApps(fixture, log, consumer);
const deferred = (name: string) => deferredOf(fixture, name);
const messagesOf = (lamp: Lamp) => internalMessagesOf(fixture, lamp);
const inspectedLamp = () => installInspectedLamp(fixture);
const broadcastTypes = async (aggregateId: string) =>
  (
    await fixture.database.sql<{ envelope: { type: string; sequence: string; data: object } }>(
      `select envelope from eventing.outbox where channel = 'external' and ordering_key = $1 order by position`,
      [aggregateId],
    )
  ).map(({ envelope: { type, sequence } }) => `${Number(sequence)} ${type}`);
const forgedFrom = (envelope: object, change: object) => ({
  ...envelope,
  id: uuid(),
  eventid: uuid() as string,
  ...change,
});

describe('A forged event of the own system', () => {
  test('that has the next sequence is a logged dead letter, and the real event is broadcast', async () => {
    await using apps = ownApps();
    const lamp = await inspectedLamp();
    const [first, second] = await messagesOf(lamp);
    await apps.receive(first!);
    await apps.receive(forgedFrom(second!, { type: 'lamp.removed' }));
    expect(await broadcastTypes(lamp.id)).toEqual(['1 lamp.installed']);
    expect(errors).toEqual(['dead letter: redrive or discard it']);
    expect(await deferred(apps.appId)).toMatchObject([{ state: 'dead', event_type: 'lamp.removed' }]);
    expect((await deferred(apps.appId))[0]!.last_error).toMatch(/^NotGenuineError: /);
    await apps.receive(second!);
    expect(await broadcastTypes(lamp.id)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
  });

  test.each<[string, (second: Record<string, unknown>) => object]>([
    ['of another type', () => ({ type: 'lamp.removed' })],
    ['of another aggregate', () => ({ subject: uuid() })],
    ['with another sequence', () => ({ sequence: '3' })],
    ['that was applied before', () => ({ sequence: '1' })],
  ])('that has the id of a real event, %s, does not replace the real event', async (_, change) => {
    await using apps = ownApps();
    const lamp = await inspectedLamp();
    const [first, second] = await messagesOf(lamp);
    await apps.receive(first!);
    await apps.receive({ ...second!, id: uuid(), ...change(second!) });
    expect(await deferred(apps.appId)).toHaveLength(1);
    await apps.receive(second!);
    expect(await broadcastTypes(lamp.id)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
  });

  test('that is discarded does not take the sequence of the real event', async () => {
    await using apps = ownApps();
    const lamp = await inspectedLamp();
    const [first, second] = await messagesOf(lamp);
    await apps.receive(first!);
    await apps.receive(forgedFrom(second!, {}));
    const [dead] = await deferred(apps.appId);
    expect(
      await discard(fixture.orm.em.fork(), { name: bodiesOf(apps.appId), order: 'ordered' }, dead!.event_id, '/lamp'),
    ).toBe('discarded');
    await apps.receive(second!);
    expect(await broadcastTypes(lamp.id)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
  });

  test.each(['discarded', 'left as a dead letter'])(
    'that could not be checked at first, %s, does not take the sequence',
    async (outcome) => {
      await using apps = ownApps();
      const lamp = await inspectedLamp();
      const [first, second] = await messagesOf(lamp);
      await apps.receive(first!);
      const forged = forgedFrom(second!, {});
      await fixture.database.sql('revoke select on eventing.event_store from lamp_app');
      await apps.receive(forged);
      await fixture.database.sql('grant select on eventing.event_store to lamp_app');
      const { name } = apps.consumer;
      await eventually(async () => {
        await fixture.database.sql('update eventing.kept_delivery set next_attempt_at = now() where consumer = $1', [
          name,
        ]);
        apps.inbox.wake();
        expect(await deferred(name)).toMatchObject([
          { state: 'dead', last_error: expect.stringMatching(/^NotGenuineError/) },
        ]);
      });
      if (outcome === 'discarded')
        expect(await discard(fixture.orm.em.fork(), apps.consumer, forged.eventid, '/lamp')).toBe('discarded');
      await apps.receive(second!);
      expect(await broadcastTypes(lamp.id)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
    },
  );

  test('that is deferred unchecked with a real event’s id is replaced by the real event', async () => {
    await using apps = ownApps();
    const lamp = await inspectedLamp();
    const [first, second] = await messagesOf(lamp);
    await fixture.database.sql('revoke select on eventing.event_store from lamp_app');
    await apps.receive({ ...second!, id: uuid(), type: 'lamp.removed' });
    await fixture.database.sql('grant select on eventing.event_store to lamp_app');
    await apps.receive(first!);
    await apps.receive(second!);
    await eventually(async () =>
      expect(await broadcastTypes(lamp.id)).toEqual(['1 lamp.installed', '2 lamp.inspected']),
    );
  });

  test('that names an unknown aggregate has no effect', async () => {
    await using apps = ownApps();
    const id = uuid();
    const [envelope] = await messagesOf(await fixture.install());
    await apps.receive(forgedFrom(envelope!, { subject: id }));
    expect(await broadcastTypes(id)).toEqual([]);
    expect(await deferred(apps.appId)).toHaveLength(1);
  });

  test('that is sent on the external topic is a dead letter of the recorder', async () => {
    await using apps = ownApps();
    const [envelope] = await messagesOf(await fixture.install());
    await apps.receive(forgedFrom(envelope!, {}), 'lamp-external');
    await eventually(async () => expect(await deferred(apps.appId)).toMatchObject([{ state: 'dead' }]));
    await eventually(() => expect(errors).toHaveLength(1));
  });

  test.each<[string, (real: Record<string, unknown>, other: Record<string, unknown>) => object]>([
    ['another event’s message id', (real, other) => ({ ...real, id: other.id })],
    ['an unknown event id', (real) => ({ ...real, eventid: uuid() })],
    ['other data', (real) => ({ ...real, data: { ...(real.data as object), eventType: 'lamp.removed' } })],
    ['another time', (real) => ({ ...real, time: '2001-01-01T00:00:00.000Z' })],
    ['another type', (real) => ({ ...real, type: 'lamp.removed' })],
    ['another target', (real) => ({ ...real, target: 'another-app' })],
  ])('that has %s is an unconfirmed dead letter on the external topic', async (_, forge) => {
    await using apps = ownApps();
    const externalOf = async () => {
      const lamp = await fixture.install();
      await apps.receive((await messagesOf(lamp))[0]!);
      const [row] = await fixture.database.sql<{ envelope: Record<string, unknown> }>(
        `select envelope from eventing.outbox where channel = 'external' and ordering_key = $1`,
        [lamp.id],
      );
      return row!.envelope;
    };
    const [real, other] = [await externalOf(), await externalOf()];
    await apps.receive(forge(real, other), 'lamp-external');
    await eventually(async () => expect(await deferred(apps.appId)).toMatchObject([{ state: 'dead' }]));
    const waiting = 'select 1 from eventing.outbox where id = any($1::uuid[])';
    expect(await fixture.database.sql(waiting, [[real.id, other.id]])).toHaveLength(2);
    await apps.receive(real, 'lamp-external');
    await eventually(async () => expect(await fixture.database.sql(waiting, [[real.id, other.id]])).toHaveLength(1));
  });

  test('that is redriven becomes a dead letter again, in the same row', async () => {
    await using apps = ownApps();
    const [envelope] = await messagesOf(await fixture.install());
    await apps.receive(forgedFrom(envelope!, {}));
    const [before] = await deferred(apps.appId);
    expect(await redrive(fixture.orm.em.fork(), bodiesOf(apps.appId), before!.event_id)).toBe('redriven');
    apps.inbox.wake();
    await eventually(() => errors.length === 2);
    expect(await deferred(apps.appId)).toEqual([before]);
  });
});

test('a consumer receives an event as stored when its message differs', async () => {
  const received: ReceivedEvent[] = [];
  const name = `reader-${uuid()}`;
  await using apps = ownApps({
    name,
    order: 'convergent',
    types: 'all',
    handle: async (_, event) => void received.push(event),
  });
  const lamp = await fixture.install();
  const [stored] = await fixture.storedEvents(lamp);
  const [envelope] = await messagesOf(lamp);
  const time = '2001-01-01T00:00:00.000Z';
  await apps.receive({ ...envelope, time, data: { attributes: { place: 'forged' }, reason: 'forged' } });
  expect(received).toMatchObject([{ eventId: stored!.id, data: { attributes: stored!.attributes } }]);
  expect(received[0]!.time).toBe((envelope as { time: string }).time);
  expect(received[0]!.data.reason).toBeUndefined();
});
