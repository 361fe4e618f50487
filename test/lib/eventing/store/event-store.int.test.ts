import { LockMode, wrap } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { withProvenance } from '#eventing/provenance';
import { Lamp } from '../fixture.ts';
import { close, fixture, install, open, storedEvents, typesOf } from './lamps.ts';

beforeAll(open);
afterAll(close);

describe('An event exists if and only if its transaction committed (P1):', () => {
  test('a flush stores the entity, its event and its outbox message together', async () => {
    const lamp = await install();
    const [event] = await storedEvents(lamp);
    const [message] = await fixture.database.sql('select * from eventing.outbox where event_id = $1', [event!.id]);
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed']);
    expect(message).toMatchObject({
      channel: 'internal',
      topic: 'lamp-internal',
      ordering_key: lamp.id,
      target: 'ALL',
      envelope: {
        specversion: '1.0',
        id: message!.id,
        eventid: event!.id,
        source: '/lamp',
        type: 'lamp.installed',
        subject: lamp.id,
        sequence: '0000000001',
        partitionkey: lamp.id,
        traceparent: event!.traceparent,
        traceid: event!.traceparent,
      },
    });
  });

  test.each<[string, (em: EntityManager, lamp: Lamp) => Promise<unknown>]>([
    ['reloaded by findOne', (em, { id }) => em.findOne(Lamp, id, { refresh: true })],
    [
      'reloaded with a lock',
      (em, { id }) => em.findOne(Lamp, id, { refresh: true, lockMode: LockMode.PESSIMISTIC_WRITE }),
    ],
    ['reloaded by find', (em) => em.find(Lamp, {}, { refresh: true })],
    ['reloaded by findOneOrFail', (em, { id }) => em.findOneOrFail(Lamp, id, { refresh: true })],
    ['reloaded by findAndCount', (em) => em.findAndCount(Lamp, {}, { refresh: true })],
    ['refreshed', (em, lamp) => em.refresh(lamp)],
    ['initialised', (_, lamp) => wrap(lamp).init()],
  ])('an entity %s in the transaction keeps its change and its event', async (_, load) => {
    const { id } = await install();
    await fixture.orm.em.fork().transactional(async (em) => {
      const lamp = await em.findOneOrFail(Lamp, id);
      lamp.place = 'cellar';
      lamp.switchOn();
      await load(em, lamp);
    });
    expect(await typesOf({ id } as Lamp)).toEqual(['1 lamp.installed', '2 lamp.switched-on']);
    const rows = await fixture.database.sql('select lit from lamp where id = $1', [id]);
    expect(rows).toEqual([{ lit: true }]);
  });

  test.each<
    [string, (em: EntityManager, row: { id: string; place: string; lit: boolean; version: number }) => unknown]
  >([
    ['upserted by upsert', (em, row) => em.upsert(Lamp, row)],
    ['upserted by upsertMany', (em, row) => em.upsertMany(Lamp, [row])],
  ])('an entity %s keeps its event and its other changes', async (_, upsert) => {
    const [{ id }, spare] = [await install(), await install()];
    await fixture.orm.em.fork().transactional(async (em) => {
      const lamp = await em.findOneOrFail(Lamp, id);
      lamp.spare = em.getReference(Lamp, spare.id);
      lamp.inspect();
      await upsert(em, { id, place: 'attic', lit: false, version: 2 });
    });
    expect(await typesOf({ id } as Lamp)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
    const rows = await fixture.database.sql('select place, spare_id from lamp where id = $1', [id]);
    expect(rows).toEqual([{ place: 'attic', spare_id: spare.id }]);
  });

  test('merge throws when it would overwrite unflushed changes', async () => {
    const { id } = await install();
    const em = fixture.orm.em.fork();
    const lamp = await em.findOneOrFail(Lamp, id);
    lamp.switchOn();
    expect(() => em.merge(Lamp, { id, place: 'x', lit: false }, { refresh: true })).toThrow('flush before merge');
  });

  test.each<[string, (em: EntityManager, lamp: Lamp) => unknown]>([
    ['cleared', (em) => em.clear()],
    ['removed before it was stored', (em, lamp) => em.remove(lamp)],
  ])('an entity %s leaves neither a row nor an event', async (_, revert) => {
    const lamp = Lamp.install('hall');
    await fixture.orm.em.fork().transactional(async (em) => {
      em.persist(lamp);
      await revert(em, lamp);
    });
    expect(await typesOf(lamp)).toEqual([]);
    expect(await fixture.database.sql('select 1 from lamp where id = $1', [lamp.id])).toEqual([]);
  });

  test('an event of an entity without a column change is stored', async () => {
    const { id } = await install();
    const em = fixture.orm.em.fork();
    const lamp = await em.findOneOrFail(Lamp, id);
    lamp.inspect();
    await em.flush();
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
  });

  test('a flush refused by the database leaves no event', async () => {
    const lamp = await install();
    const em = fixture.orm.em.fork();
    const twin = Lamp.install('hall');
    twin.id = lamp.id;
    em.persist(twin);
    await expect(em.flush()).rejects.toThrow(/duplicate key/);
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed']);
  });

  test('a flush that is refused and repeated stores each event once', async () => {
    const blocker = await install();
    const em = fixture.orm.em.fork();
    const lamp = Lamp.install('hall');
    const { id } = lamp;
    lamp.id = blocker.id;
    em.persist(lamp);
    await expect(em.flush()).rejects.toThrow(/duplicate key/);
    lamp.id = id;
    await em.persist(lamp).flush();
    expect(await typesOf({ id } as Lamp)).toEqual(['1 lamp.installed']);
    expect(await typesOf(blocker)).toEqual(['1 lamp.installed']);
  });

  test('an entity that is persisted by reference is stored with its event', async () => {
    const lamp = await install();
    const em = fixture.orm.em.fork();
    const spare = Lamp.install('drawer');
    (await em.findOneOrFail(Lamp, lamp.id)).spare = spare;
    await em.flush();
    expect(await typesOf(spare)).toEqual(['1 lamp.installed']);
  });

  test('a failed optimistic lock leaves no event', async () => {
    const { id } = await install();
    const [one, other] = [fixture.orm.em.fork(), fixture.orm.em.fork()];
    const [lamp, same] = [await one.findOneOrFail(Lamp, id), await other.findOneOrFail(Lamp, id)];
    lamp.switchOn();
    same.switchOn();
    await one.flush();
    await expect(other.flush()).rejects.toThrow(/optimistic lock/i);
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.switched-on']);
  });

  test('the last event of a removed entity is stored', async () => {
    const { id } = await install();
    const em = fixture.orm.em.fork();
    const lamp = await em.findOneOrFail(Lamp, id);
    lamp.inspect();
    em.remove(lamp);
    await em.flush();
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
    expect(await fixture.orm.em.fork().findOne(Lamp, id)).toBeNull();
  });

  test('an event too large for the brokers fails the action', async () => {
    const em = fixture.orm.em.fork();
    em.persist(Lamp.install('x'.repeat(300_000)));
    await expect(em.flush()).rejects.toThrow(/brokers accept/);
    expect(await em.fork().count(Lamp, { place: { $like: 'xxx%' } })).toBe(0);
  });
});

describe('Sequences', () => {
  test('are gapless per aggregate and in commit order under concurrent writes', async () => {
    const { id } = await install();
    const inspect = async (n: number) => {
      await fixture.orm.em.fork().transactional(async (em) => {
        const lamp = await em.findOneOrFail(Lamp, id);
        lamp.inspect(`no. ${n}`);
        if (n % 7 === 0) throw new Error('every seventh fails');
      });
    };
    await Promise.allSettled(Array.from({ length: 60 }, (_, n) => inspect(n)));
    const rows = await fixture.database.sql<{ sequence: string; position: string }>(
      `select e.sequence, o.position from eventing.event_store e join eventing.outbox o on o.event_id = e.id
        where e.aggregate_id = $1 order by o.position`,
      [id],
    );
    expect(rows.map((row) => Number(row.sequence))).toEqual(Array.from({ length: 52 }, (_, i) => i + 1));
  });

  test('are assigned without a deadlock when two aggregates change in opposite orders', async () => {
    const [a, b] = [await install('a'), await install('b')];
    const both = (first: Lamp, second: Lamp) =>
      fixture.orm.em.fork().transactional(async (em) => {
        for (const { id } of [first, second]) (await em.findOneOrFail(Lamp, id)).inspect();
      });
    await Promise.all(Array.from({ length: 20 }, (_, n) => (n % 2 ? both(a, b) : both(b, a))));
    expect(await storedEvents(a)).toHaveLength(21);
    expect(await storedEvents(b)).toHaveLength(21);
  });
});

test('each event records its requester and its trace', async () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const lamp = await withProvenance({ requestedBy: 'member:1', traceparent }, () => install());
  expect(await storedEvents(lamp)).toMatchObject([{ requested_by: 'member:1', traceparent }]);
});
