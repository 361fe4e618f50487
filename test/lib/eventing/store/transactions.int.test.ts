import { v7 as uuid } from 'uuid';
import { Lamp } from '../fixture.ts';
import { close, fixture, install, open, storedEvents, typesOf } from './lamps.ts';

beforeAll(open);
afterAll(close);

describe('An event exists if and only if its transaction committed (P1):', () => {
  test('events of several flushes in one transaction are stored in the order raised', async () => {
    const { id } = await install();
    const lamp = await fixture.orm.em.fork().transactional(async (em) => {
      const lamp = await em.findOneOrFail(Lamp, id);
      lamp.inspect();
      await em.flush();
      lamp.switchOn();
      await em.flush();
      lamp.inspect();
      return lamp;
    });
    expect(await typesOf(lamp)).toEqual([
      '1 lamp.installed',
      '2 lamp.inspected',
      '3 lamp.switched-on',
      '4 lamp.inspected',
    ]);
  });

  test('a failed transaction leaves neither the change nor the event', async () => {
    const { id } = await install();
    const failing = fixture.orm.em.fork().transactional(async (em) => {
      const lamp = await em.findOneOrFail(Lamp, id);
      lamp.switchOn();
      await em.flush();
      throw new Error('after the flush');
    });
    await expect(failing).rejects.toThrow('after the flush');
    const lamp = await fixture.orm.em.fork().findOneOrFail(Lamp, id);
    expect(lamp.lit).toBe(false);
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed']);
  });

  test('a change refused in a savepoint is stored with its event by the next flush', async () => {
    const lamp = await install();
    await fixture.orm.em.fork().transactional(async (em) => {
      const changed = await em.findOneOrFail(Lamp, lamp.id);
      changed.switchOn();
      const refused = em.transactional(async (inner) => {
        const twin = Lamp.install('hall');
        twin.id = lamp.id;
        await inner
          .execute('insert into lamp (id, place, lit) values (?, ?, false)', [twin.id, 'x'])
          .catch(() => undefined);
        await inner.flush();
      });
      await expect(refused).rejects.toThrow();
      changed.inspect();
    });
    const stored = await fixture.orm.em.fork().findOneOrFail(Lamp, lamp.id);
    expect([stored.lit, await typesOf(lamp)]).toEqual([
      true,
      ['1 lamp.installed', '2 lamp.switched-on', '3 lamp.inspected'],
    ]);
  });

  test('a flush that fails half-way in a savepoint stores an event only with its entity', async () => {
    const lamp = await install();
    const unsaved = Lamp.install('not flushed');
    await fixture.orm.em.fork().transactional(async (em) => {
      const changed = await em.findOneOrFail(Lamp, lamp.id);
      em.persist(unsaved);
      changed.spare = em.getReference(Lamp, uuid());
      // The new lamp is inserted; then the changed lamp is refused, because its spare does not exist.
      await expect(em.transactional((inner) => inner.flush())).rejects.toThrow(/foreign key/);
      changed.spare = null;
    });
    const stored = await fixture.orm.em.fork().findOne(Lamp, unsaved.id);
    expect(await typesOf(unsaved)).toEqual(stored ? ['1 lamp.installed'] : []);
  });

  test('a rolled-back savepoint discards the events raised in it, not those raised before', async () => {
    const [before, inside, twin] = [await install(), await install(), await install()];
    await fixture.orm.em.fork().transactional(async (em) => {
      const [one, other] = [await em.findOneOrFail(Lamp, before.id), await em.findOneOrFail(Lamp, inside.id)];
      one.inspect();
      const refused = em.transactional(async (inner) => {
        other.inspect();
        const again = Lamp.install('hall');
        again.id = twin.id;
        inner.persist(again);
      });
      await expect(refused).rejects.toThrow(/duplicate key/);
    });
    expect(await typesOf(before)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
    expect(await typesOf(inside)).toEqual(['1 lamp.installed']);
  });

  test('a rolled-back savepoint removes its own stored events and no others', async () => {
    const [before, inside, after] = await fixture.orm.em.fork().transactional(async (em) => {
      const before = Lamp.install('before');
      em.persist(before);
      await em.flush();
      const inside = Lamp.install('inside');
      const nested = em.transactional(async (inner) => {
        inner.persist(inside);
        await inner.flush();
        throw new Error('only the savepoint');
      });
      await expect(nested).rejects.toThrow('only the savepoint');
      const after = Lamp.install('after');
      em.persist(after);
      return [before, inside, after] as const;
    });
    expect(await typesOf(before)).toEqual(['1 lamp.installed']);
    expect(await typesOf(inside)).toEqual([]);
    expect(await typesOf(after)).toEqual(['1 lamp.installed']);
  });

  test('a change not flushed before a savepoint is stored or rolled back with its event', async () => {
    const { id } = await install();
    const unsaved = Lamp.install('not flushed');
    await fixture.orm.em.fork().transactional(async (em) => {
      (await em.findOneOrFail(Lamp, id)).switchOn();
      em.persist(unsaved);
      const nested = em.transactional(async (inner) => {
        await inner.flush();
        throw new Error('only the savepoint');
      });
      await expect(nested).rejects.toThrow('only the savepoint');
    });
    for (const lamp of [{ id }, unsaved] as Lamp[]) {
      const stored = await fixture.orm.em.fork().findOne(Lamp, lamp.id);
      const types = (await storedEvents(lamp)).map((event) => event.event_type);
      expect(types.includes('lamp.installed')).toBe(stored !== null);
      expect(types.includes('lamp.switched-on')).toBe(stored?.lit ?? false);
    }
  });

  test('a released savepoint keeps its events only if the outer transaction commits', async () => {
    const nested = (outcome: 'commit' | 'roll back') => {
      const lamp = Lamp.install(outcome);
      const done = fixture.orm.em.fork().transactional(async (em) => {
        await em.transactional(async (inner) => void inner.persist(lamp));
        if (outcome === 'roll back') throw new Error('around it');
      });
      return { lamp, done };
    };
    const committed = nested('commit');
    await committed.done;
    const rolledBack = nested('roll back');
    await expect(rolledBack.done).rejects.toThrow('around it');
    expect(await typesOf(committed.lamp)).toEqual(['1 lamp.installed']);
    expect(await typesOf(rolledBack.lamp)).toEqual([]);
  });

  test('explicit begin and commit store events, begin and rollback store none', async () => {
    const [committed, rolledBack] = [Lamp.install('commit'), Lamp.install('rollback')];
    const em = fixture.orm.em.fork();
    await em.begin();
    em.persist(committed);
    await em.commit();
    await em.begin();
    em.persist(rolledBack);
    await em.flush();
    await em.rollback();
    await em.begin();
    await em.commit();
    expect(await typesOf(committed)).toEqual(['1 lamp.installed']);
    expect(await typesOf(rolledBack)).toEqual([]);
  });
});

test('only a committed transaction with events wakes the relay, once, savepoints included', async () => {
  const before = fixture.wakeUps();
  await fixture.orm.em.fork().transactional(async (em) => void (await em.count(Lamp)));
  await expect(
    fixture.orm.em.fork().transactional(async (em) => {
      em.persist(Lamp.install('nowhere'));
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
  expect(fixture.wakeUps()).toBe(before);
  await fixture.orm.em.fork().transactional(async (em) => {
    await em.transactional((inner) =>
      inner.transactional(async (innermost) => void innermost.persist(Lamp.install('cellar'))),
    );
    await fixture.orm.em.fork().transactional(async (other) => void (await other.count(Lamp)));
    expect(fixture.wakeUps()).toBe(before);
  });
  expect(fixture.wakeUps()).toBe(before + 1);
});
