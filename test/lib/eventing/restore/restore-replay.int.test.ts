import { CANARY_ID, ownCanaries } from '#eventing/canary';
import type { Envelope } from '#eventing/cloud-event';
import { Lamp, lampEvents, lamps } from '../fixture.ts';
import {
  backUp,
  change,
  fixture,
  lampWithTwoLostEvents,
  pendingTypesOf,
  restoreFrom,
  silentLog,
  topic,
} from './fixture.ts';

test('each lost event is replayed once, in the original order, with its values', async () => {
  const [one, two] = [await fixture.install(), await fixture.install()];
  const restoreDatabase = await backUp();
  await change(two, (it) => it.switchOn());
  await change(one, (it) => it.inspect('it flickers'));
  await change(two, (it) => it.inspect());
  const messages = await topic();
  await restoreDatabase();
  const replayed: unknown[] = [];
  const finished: number[] = [];
  await restoreFrom(messages, {
    async replay(em, event) {
      const values = await fixture.keyring.reveal(em, event, {
        ...event.data.attributes,
        ...(event.data.reason && { '#reason': event.data.reason }),
      });
      replayed.push([event.aggregateId, event.type, values]);
      expect(Date.now() - Date.parse(event.time)).toBeLessThan(60_000);
    },
    finish: async () => void finished.push(replayed.length),
  });
  expect(replayed).toEqual([
    [two.id, 'lamp.switched-on', { lit: true }],
    [one.id, 'lamp.inspected', { '#reason': 'it flickers' }],
    [two.id, 'lamp.inspected', {}],
  ]);
  expect(finished).toEqual([3]);
});

test('changes of replay and finish are committed with the restore, their events after its own', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  await restoreFrom(messages, {
    async replay(em, { type, aggregateId }) {
      if (type === 'lamp.switched-on') (await em.findOneOrFail(Lamp, aggregateId)).lit = true;
    },
    finish: async (em) => (await em.findOneOrFail(Lamp, lamp.id)).inspect(),
  });
  expect((await fixture.orm.em.fork().findOneOrFail(Lamp, lamp.id)).lit).toBe(true);
  expect((await fixture.typesOf(lamp)).slice(3)).toEqual(['4 lamp.restored', '5 lamp.inspected']);
});

test('a canary is imported and not replayed', async () => {
  const lamp = await fixture.install();
  const restoreDatabase = await backUp();
  const canaries = ownCanaries(
    { system: lamps, keyring: fixture.keyring, broadcaster: { name: 'b' } },
    lampEvents.canarySent,
  );
  await canaries.send(fixture.orm.em.fork());
  await change(lamp, (it) => it.inspect());
  const messages = await topic();
  await restoreDatabase();
  const replayed: string[] = [];
  await restoreFrom(messages, { replay: async (_, { type }) => void replayed.push(type) });
  expect(replayed).toEqual(['lamp.inspected']);
  expect(await fixture.typesOf({ id: CANARY_ID })).toEqual(['1 lamp.canary-sent', '2 lamp.restored']);
});

test('an event that cannot be replayed is logged and does not stop the others', async () => {
  const { lamp, events, messages } = await lampWithTwoLostEvents();
  const warnings: object[] = [];
  const outcome = await restoreFrom(messages, {
    async replay(em, { type, aggregateId }) {
      const it = await em.findOneOrFail(Lamp, aggregateId);
      if (type === 'lamp.inspected') it.place = 'cellar';
      else await em.execute('insert into lamp (id, place, lit) select id, place, lit from lamp');
    },
    log: { ...silentLog, warn: (fields) => void warnings.push(fields) },
  });
  expect(outcome).toMatchObject({ imported: 2, notReplayed: 1 });
  expect(warnings).toEqual([
    expect.objectContaining({ eventId: events[1]!.id, aggregateId: lamp.id, type: 'lamp.switched-on' }),
  ]);
  expect((await fixture.orm.em.fork().findOneOrFail(Lamp, lamp.id)).place).toBe('cellar');
});

test('an aggregate whose last event cannot be replayed is ended nevertheless', async () => {
  const lamp = await fixture.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.remove());
  const messages = await topic();
  await restoreDatabase();
  const ended: string[] = [];
  const outcome = await restoreFrom(messages, {
    replay: () => Promise.reject(new Error('garbled')),
    async end(em, id) {
      ended.push(id);
      await fixture.keyring.destroy(em, [id]);
    },
  });
  expect(outcome).toMatchObject({ imported: 1, notReplayed: 1 });
  expect(ended).toEqual([lamp.id]);
  await expect(change(lamp, (it) => it.inspect())).rejects.toThrow('its key is destroyed');
});

test('an aggregate whose last event was lost gets no event after it', async () => {
  const lamp = await fixture.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.remove());
  const messages = await topic();
  await restoreDatabase();
  await restoreFrom(messages, {
    async replay(em, { aggregateId }, isOver) {
      expect(isOver).toBe(true);
      await fixture.keyring.destroy(em, [aggregateId]);
    },
  });
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.removed']);
  expect((await pendingTypesOf(lamp)).at(-1)).toBe('2 lamp.removed');
  await expect(change(lamp, (it) => it.inspect())).rejects.toThrow('its key is destroyed');
});

test('an aggregate’s events are replayed in sequence despite clock differences', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  const [installed, on, inspected] = messages as [Envelope, Envelope, Envelope];
  const slow = { ...inspected, eventid: `0${inspected.eventid.slice(1)}` };
  const replayed: number[] = [];
  await restoreFrom([installed, on, slow], { replay: async (_, { sequence }) => void replayed.push(sequence) });
  expect([replayed, (await fixture.typesOf(lamp)).length]).toEqual([[2, 3], 4]);
});

test('more than a page of events is imported and replayed completely', async () => {
  const lamp = await fixture.install();
  const restoreDatabase = await backUp();
  await fixture.orm.em.fork().transactional(async (em) => {
    const it = await em.findOneOrFail(Lamp, lamp.id);
    for (let i = 0; i < 1_200; i++) it.inspect();
  });
  const messages = await topic();
  await restoreDatabase();
  let replayed = 0;
  const progress: object[] = [];
  const outcome = await restoreFrom(messages, {
    replay: async (_, { sequence }) => {
      replayed += 1;
      expect(sequence).toBe(replayed + 1);
    },
    log: { ...silentLog, info: (it) => void progress.push(it) },
  });
  expect([outcome.imported, replayed]).toEqual([1_200, 1_200]);
  expect(progress).toEqual([
    { read: 500, lost: 499 },
    { read: 1_000, lost: 999 },
    { read: 1_201, lost: 1_200 },
    { replayed: 500 },
    { replayed: 1_000 },
    { replayed: 1_200 },
  ]);
  expect(await pendingTypesOf(lamp)).toHaveLength(1_202);
});
