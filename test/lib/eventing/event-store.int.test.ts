import { v7 as uuid } from 'uuid';
import { withProvenance } from '#eventing/provenance';
import { type Lab, Lamp, openLab } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab[Symbol.asyncDispose]());

const factsOf = (lamp: Lamp) => lab.factsOf(lamp);
const typesOf = (lamp: Lamp) => lab.typesOf(lamp);
const installed = (place?: string) => lab.install(place);

describe('A fact exists if and only if its transaction committed (P1)', () => {
  test('a flush stores the entity, its fact and the message for the relay together', async () => {
    const lamp = await installed();
    const [fact] = await factsOf(lamp);
    const [message] = await lab.database.sql('select * from eventing.outbox where event_id = $1', [fact!.id]);
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed']);
    expect(message).toMatchObject({
      channel: 'internal',
      topic: 'lamp-internal',
      ordering_key: lamp.id,
      target: 'ALL',
      envelope: {
        specversion: '1.0',
        id: message!.id,
        eventid: fact!.id,
        source: '/lamp',
        type: 'lamp.installed',
        subject: lamp.id,
        sequence: '0000000001',
        partitionkey: lamp.id,
        traceparent: fact!.traceparent,
        traceid: fact!.traceparent,
      },
    });
  });

  test('a fact of an entity without a column change is stored too', async () => {
    const { id } = await installed();
    const em = lab.orm.em.fork();
    const lamp = await em.findOneOrFail(Lamp, id);
    lamp.inspect();
    await em.flush();
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
  });

  test('facts of several flushes of one transaction are stored in the order they were raised', async () => {
    const { id } = await installed();
    const lamp = await lab.orm.em.fork().transactional(async (em) => {
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

  test('a transaction that fails leaves neither the change nor the fact', async () => {
    const { id } = await installed();
    const failing = lab.orm.em.fork().transactional(async (em) => {
      const lamp = await em.findOneOrFail(Lamp, id);
      lamp.switchOn();
      await em.flush();
      throw new Error('after the flush');
    });
    await expect(failing).rejects.toThrow('after the flush');
    const lamp = await lab.orm.em.fork().findOneOrFail(Lamp, id);
    expect(lamp.lit).toBe(false);
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed']);
  });

  test('a flush that the database refuses leaves no fact', async () => {
    const lamp = await installed();
    const em = lab.orm.em.fork();
    const twin = Lamp.install('hall');
    twin.id = lamp.id;
    em.persist(twin);
    await expect(em.flush()).rejects.toThrow(/duplicate key/);
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed']);
  });

  test('a change whose flush was refused in a savepoint is stored with its fact by the next one', async () => {
    const lamp = await installed();
    await lab.orm.em.fork().transactional(async (em) => {
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
    const stored = await lab.orm.em.fork().findOneOrFail(Lamp, lamp.id);
    expect([stored.lit, await typesOf(lamp)]).toEqual([
      true,
      ['1 lamp.installed', '2 lamp.switched-on', '3 lamp.inspected'],
    ]);
  });

  test('of a flush that got half-way in a savepoint, each fact is stored exactly if its entity is', async () => {
    const lamp = await installed();
    const unsaved = Lamp.install('not flushed');
    await lab.orm.em.fork().transactional(async (em) => {
      const changed = await em.findOneOrFail(Lamp, lamp.id);
      em.persist(unsaved);
      changed.spare = em.getReference(Lamp, uuid());
      // The new one is inserted, then the changed one is refused: there is no such spare.
      await expect(em.transactional((inner) => inner.flush())).rejects.toThrow(/foreign key/);
      changed.spare = null;
    });
    const stored = await lab.orm.em.fork().findOne(Lamp, unsaved.id);
    expect(await typesOf(unsaved)).toEqual(stored ? ['1 lamp.installed'] : []);
  });

  test('a fact that was stated in a savepoint is void with it, and one that was stated before is not', async () => {
    const [before, inside, twin] = [await installed(), await installed(), await installed()];
    await lab.orm.em.fork().transactional(async (em) => {
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

  test('a flush that is refused and repeated stores each fact once', async () => {
    const blocker = await installed();
    const em = lab.orm.em.fork();
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

  test('the fact of an entity that only another refers to is stored with it', async () => {
    const lamp = await installed();
    const em = lab.orm.em.fork();
    const spare = Lamp.install('drawer');
    (await em.findOneOrFail(Lamp, lamp.id)).spare = spare;
    await em.flush();
    expect(await typesOf(spare)).toEqual(['1 lamp.installed']);
  });

  test('an optimistic lock that fails leaves no fact', async () => {
    const { id } = await installed();
    const [one, other] = [lab.orm.em.fork(), lab.orm.em.fork()];
    const [lamp, same] = [await one.findOneOrFail(Lamp, id), await other.findOneOrFail(Lamp, id)];
    lamp.switchOn();
    same.switchOn();
    await one.flush();
    await expect(other.flush()).rejects.toThrow(/optimistic lock/i);
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.switched-on']);
  });

  test('a savepoint that is rolled back takes its facts along, and only its own', async () => {
    const [before, inside, after] = await lab.orm.em.fork().transactional(async (em) => {
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

  test('a change that was not flushed before a savepoint is rolled back with it, or kept, together with its fact', async () => {
    const { id } = await installed();
    const unsaved = Lamp.install('not flushed');
    await lab.orm.em.fork().transactional(async (em) => {
      (await em.findOneOrFail(Lamp, id)).switchOn();
      em.persist(unsaved);
      const nested = em.transactional(async (inner) => {
        await inner.flush();
        throw new Error('only the savepoint');
      });
      await expect(nested).rejects.toThrow('only the savepoint');
    });
    for (const lamp of [{ id }, unsaved] as Lamp[]) {
      const stored = await lab.orm.em.fork().findOne(Lamp, lamp.id);
      const types = (await factsOf(lamp)).map((fact) => fact.event_type);
      expect(types.includes('lamp.installed')).toBe(stored !== null);
      expect(types.includes('lamp.switched-on')).toBe(stored?.lit ?? false);
    }
  });

  test('a savepoint that is released keeps its facts exactly if the transaction around it commits', async () => {
    const nested = (outcome: 'commit' | 'roll back') => {
      const lamp = Lamp.install(outcome);
      const done = lab.orm.em.fork().transactional(async (em) => {
        await em.transactional(async (inner) => void inner.persist(lamp));
        if (outcome === 'roll back') throw new Error('around it');
      });
      return { lamp, done };
    };
    const kept = nested('commit');
    await kept.done;
    const lost = nested('roll back');
    await expect(lost.done).rejects.toThrow('around it');
    expect(await typesOf(kept.lamp)).toEqual(['1 lamp.installed']);
    expect(await typesOf(lost.lamp)).toEqual([]);
  });

  test('begin and commit by hand store facts as well, begin and rollback none', async () => {
    const [kept, lost] = [Lamp.install('commit'), Lamp.install('rollback')];
    const em = lab.orm.em.fork();
    await em.begin();
    em.persist(kept);
    await em.commit();
    await em.begin();
    em.persist(lost);
    await em.flush();
    await em.rollback();
    await em.begin();
    await em.commit();
    expect(await typesOf(kept)).toEqual(['1 lamp.installed']);
    expect(await typesOf(lost)).toEqual([]);
  });

  test('a removed entity’s last fact is stored', async () => {
    const { id } = await installed();
    const em = lab.orm.em.fork();
    const lamp = await em.findOneOrFail(Lamp, id);
    lamp.inspect();
    em.remove(lamp);
    await em.flush();
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.inspected']);
    expect(await lab.orm.em.fork().findOne(Lamp, id)).toBeNull();
  });

  test('a fact too large for the brokers fails the action', async () => {
    const em = lab.orm.em.fork();
    em.persist(Lamp.install('x'.repeat(300_000)));
    await expect(em.flush()).rejects.toThrow(/brokers take/);
    expect(await em.fork().count(Lamp, { place: { $like: 'xxx%' } })).toBe(0);
  });
});

describe('Sequences', () => {
  test('of one aggregate are gapless and in the order of commits, however many write at once', async () => {
    const { id } = await installed();
    const inspect = async (n: number) => {
      await lab.orm.em.fork().transactional(async (em) => {
        const lamp = await em.findOneOrFail(Lamp, id);
        lamp.inspect(`no. ${n}`);
        if (n % 7 === 0) throw new Error('every seventh fails');
      });
    };
    await Promise.allSettled(Array.from({ length: 60 }, (_, n) => inspect(n)));
    const rows = await lab.database.sql<{ sequence: string; position: string }>(
      `select e.sequence, o.position from eventing.event_store e join eventing.outbox o on o.event_id = e.id
        where e.aggregate_id = $1 order by o.position`,
      [id],
    );
    expect(rows.map((row) => Number(row.sequence))).toEqual(Array.from({ length: 52 }, (_, i) => i + 1));
  });

  test('of two aggregates that are changed together in either order are taken without a deadlock', async () => {
    const [a, b] = [await installed('a'), await installed('b')];
    const both = (first: Lamp, second: Lamp) =>
      lab.orm.em.fork().transactional(async (em) => {
        for (const { id } of [first, second]) (await em.findOneOrFail(Lamp, id)).inspect();
      });
    await Promise.all(Array.from({ length: 20 }, (_, n) => (n % 2 ? both(a, b) : both(b, a))));
    expect(await factsOf(a)).toHaveLength(21);
    expect(await factsOf(b)).toHaveLength(21);
  });
});

test('each fact says who asked for it and in which trace', async () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const lamp = await withProvenance({ requestedBy: 'member:1', traceparent }, () => installed());
  expect(await factsOf(lamp)).toMatchObject([{ requested_by: 'member:1', traceparent }]);
});

test('the relay is woken once a transaction with facts has committed, also from a savepoint, and by no other', async () => {
  const before = lab.wakeUps();
  await lab.orm.em.fork().transactional(async (em) => void (await em.count(Lamp)));
  await expect(
    lab.orm.em.fork().transactional(async (em) => {
      em.persist(Lamp.install('nowhere'));
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
  expect(lab.wakeUps()).toBe(before);
  await lab.orm.em.fork().transactional(async (em) => {
    await em.transactional((inner) =>
      inner.transactional(async (innermost) => void innermost.persist(Lamp.install('cellar'))),
    );
    await lab.orm.em.fork().transactional(async (other) => void (await other.count(Lamp)));
    expect(lab.wakeUps()).toBe(before);
  });
  expect(lab.wakeUps()).toBe(before + 1);
});
