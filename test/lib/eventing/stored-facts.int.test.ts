import { eventually } from '../../support/eventually.ts';
import { type Lab, Lamp, openLab } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab[Symbol.asyncDispose]());

const factsOf = (lamp: Lamp) => lab.factsOf(lamp);
const typesOf = (lamp: Lamp) => lab.typesOf(lamp);
const installed = (place?: string) => lab.install(place);

/** How many transactions of this database wait for another one's lock. */
const waiters = async (): Promise<number> =>
  (
    await lab.database.sql<{ n: number }>(
      `select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    )
  )[0]!.n;

describe('Values', () => {
  test('rest encrypted, and can be revealed until the last fact destroys the key', async () => {
    const lamp = await installed('Grandmother’s room');
    const [fact] = await factsOf(lamp);
    const event = { aggregateId: lamp.id, eventId: fact!.id };
    expect(JSON.stringify(fact)).not.toContain('Grandmother');
    expect(await lab.keyring.reveal(lab.orm.em.fork(), event, fact!.attributes)).toEqual({
      place: 'Grandmother’s room',
    });

    await lab.orm.em.fork().transactional(async (em) => (await em.findOneOrFail(Lamp, lamp.id)).remove());
    expect(await lab.keyring.reveal(lab.orm.em.fork(), event, fact!.attributes)).toEqual({ place: 'erased' });
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.removed']);
  });

  test('nothing can be stated about an aggregate while its last fact is being stated either, and nobody waits for ever', async () => {
    const { id } = await lab.install();
    const removed = Promise.withResolvers<void>();
    const last = lab.orm.em.fork().transactional(async (em) => {
      const lamp = await em.findOneOrFail(Lamp, id);
      await em.transactional(async () => lamp.remove());
      removed.resolve();
      await eventually(async () => expect(await waiters()).toBeGreaterThan(0));
    });
    await removed.promise;
    const late = lab.orm.em.fork().transactional(async (em) => (await em.findOneOrFail(Lamp, id)).inspect());
    await expect(late).rejects.toThrow(/last fact/);
    await last;
    expect(await lab.typesOf({ id })).toEqual(['1 lamp.installed', '2 lamp.removed']);
  });

  test('nothing can be stated about an aggregate after its last fact', async () => {
    const { id } = await installed();
    await lab.orm.em.fork().transactional(async (em) => (await em.findOneOrFail(Lamp, id)).remove());
    const late = lab.orm.em.fork().transactional(async (em) => (await em.findOneOrFail(Lamp, id)).inspect());
    await expect(late).rejects.toThrow(/last fact/);
  });

  test('moved to another event do not decrypt', async () => {
    const lamp = await installed();
    const [fact] = await factsOf(lamp);
    const elsewhere = { aggregateId: lamp.id, eventId: lamp.id };
    await expect(lab.keyring.reveal(lab.orm.em.fork(), elsewhere, fact!.attributes)).rejects.toThrow();
  });
});

test('the app’s role can neither change nor delete a stored fact, nor read it away by truncation', async () => {
  await installed();
  const execute = (sql: string) => lab.orm.em.getConnection().execute(sql);
  for (const sql of [
    `update eventing.event_store set reason = 'other'`,
    'delete from eventing.event_store',
    'truncate eventing.event_store',
    'delete from eventing.published',
    'drop table eventing.event_store',
    'delete from eventing.encryption_key',
  ]) {
    await expect(execute(sql)).rejects.toThrow(/permission denied|must be owner/);
  }
});

test('facts lie in the partition of their month', async () => {
  const lamp = await installed();
  const [row] = await lab.database.sql<{ partition: string }>(
    'select tableoid::regclass::text as partition from eventing.event_store where aggregate_id = $1',
    [lamp.id],
  );
  const month = new Date().toISOString().slice(0, 7).replace('-', '_');
  expect(row!.partition).toBe(`eventing.event_store_${month}`);
});
