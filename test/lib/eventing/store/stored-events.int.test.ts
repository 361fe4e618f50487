import { eventually } from '../../../support/eventually.ts';
import { Lamp } from '../fixture.ts';
import { close, fixture, install, open, storedEvents, typesOf } from './lamps.ts';

beforeAll(open);
afterAll(close);

/** Counts the transactions of this database that wait for a lock. */
const waiters = async (): Promise<number> =>
  (
    await fixture.database.sql<{ n: number }>(
      `select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    )
  )[0]!.n;

describe('The stored events of an aggregate', () => {
  test('are encrypted at rest and readable until the last event destroys the key', async () => {
    const lamp = await install('Grandmother’s room');
    const [stored] = await storedEvents(lamp);
    const event = { aggregateId: lamp.id, eventId: stored!.id };
    expect(JSON.stringify(stored)).not.toContain('Grandmother');
    expect(await fixture.keyring.reveal(fixture.orm.em.fork(), event, stored!.attributes)).toEqual({
      place: 'Grandmother’s room',
    });

    await fixture.orm.em.fork().transactional(async (em) => (await em.findOneOrFail(Lamp, lamp.id)).remove());
    expect(await fixture.keyring.reveal(fixture.orm.em.fork(), event, stored!.attributes)).toEqual({ place: 'erased' });
    expect(await typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.removed']);
  });

  test('reject an event that waited while the last event was being stored', async () => {
    const { id } = await fixture.install();
    const removed = Promise.withResolvers<void>();
    const last = fixture.orm.em.fork().transactional(async (em) => {
      const lamp = await em.findOneOrFail(Lamp, id);
      await em.transactional(async () => lamp.remove());
      removed.resolve();
      await eventually(async () => expect(await waiters()).toBeGreaterThan(0));
    });
    await removed.promise;
    const late = fixture.orm.em.fork().transactional(async (em) => (await em.findOneOrFail(Lamp, id)).inspect());
    await expect(late).rejects.toThrow(/last event/);
    await last;
    expect(await fixture.typesOf({ id })).toEqual(['1 lamp.installed', '2 lamp.removed']);
  });

  test('reject an event after the last event', async () => {
    const { id } = await install();
    await fixture.orm.em.fork().transactional(async (em) => (await em.findOneOrFail(Lamp, id)).remove());
    const late = fixture.orm.em.fork().transactional(async (em) => (await em.findOneOrFail(Lamp, id)).inspect());
    await expect(late).rejects.toThrow(/last event/);
  });

  test('cannot be decrypted under the id of another event', async () => {
    const lamp = await install();
    const [stored] = await storedEvents(lamp);
    const elsewhere = { aggregateId: lamp.id, eventId: lamp.id };
    await expect(fixture.keyring.reveal(fixture.orm.em.fork(), elsewhere, stored!.attributes)).rejects.toThrow();
  });
});

test('the app’s role can neither update, delete nor truncate stored events', async () => {
  await install();
  const execute = (sql: string) => fixture.orm.em.getConnection().execute(sql);
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

test('events are stored in the partition of their month', async () => {
  const lamp = await install();
  const [row] = await fixture.database.sql<{ partition: string }>(
    'select tableoid::regclass::text as partition from eventing.event_store where aggregate_id = $1',
    [lamp.id],
  );
  const month = new Date().toISOString().slice(0, 7).replace('-', '_');
  expect(row!.partition).toBe(`eventing.event_store_${month}`);
});
