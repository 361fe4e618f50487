import { jest } from '@jest/globals';
import { type Fixture, Lamp, openFixture } from '../fixture.ts';

// How a transaction stores its events: one call for new aggregates, and one more statement, which reads the keys, for others.

let fixture: Fixture;
beforeAll(async () => {
  fixture = await openFixture();
  // Finds out once what the schema has.
  await fixture.install();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const fork = () => fixture.orm.em.fork();
/** Runs `work` and returns the statements of eventing that it executed. */
async function statementsOf(work: () => Promise<unknown>): Promise<string[]> {
  const spy = jest.spyOn(fixture.orm.em.getConnection('write'), 'execute');
  try {
    await work();
    return spy.mock.calls.map(([text]) => String(text)).filter((text) => text.includes('eventing.'));
  } finally {
    spy.mockRestore();
  }
}
const APPEND = expect.stringContaining('eventing.append_1');
const KEYS = expect.stringMatching(/^select aggregate_id, wrapped_key /);
const values = async (lamp: Pick<Lamp, 'id'>) => {
  const events = await fixture.storedEvents(lamp);
  return Promise.all(
    events.map(({ id, attributes }) =>
      fixture.keyring.reveal(fork(), { aggregateId: lamp.id, eventId: id }, attributes),
    ),
  );
};

test('a new aggregate’s events and its key are stored by one statement', async () => {
  let lamp: Lamp | undefined;
  const statements = await statementsOf(async () => {
    lamp = await fixture.install('attic');
  });
  expect(statements).toEqual([APPEND]);
  expect(await values(lamp!)).toEqual([{ place: 'attic' }]);
});

test('events of new and existing aggregates are stored together, with one read of keys', async () => {
  const old = await fixture.install('hall');
  const fresh = Lamp.install('attic');
  const statements = await statementsOf(async () => {
    const em = fork();
    (await em.findOneOrFail(Lamp, old.id)).switchOn();
    em.persist(fresh);
    fresh.switchOn();
    await em.flush();
  });
  expect(statements).toEqual([KEYS, APPEND]);
  expect(await fixture.typesOf(old)).toEqual(['1 lamp.installed', '2 lamp.switched-on']);
  expect(await fixture.typesOf(fresh)).toEqual(['1 lamp.installed', '2 lamp.switched-on']);
  expect(await values(fresh)).toEqual([{ place: 'attic' }, { lit: true }]);
});

test('an aggregate that is created again under its id continues its sequence with its key', async () => {
  const lamp = await fixture.install('hall');
  await fixture.database.sql('delete from lamp where id = $1', [lamp.id]);
  const other = Lamp.install('attic');
  const statements = await statementsOf(async () => {
    const em = fork();
    em.persist(recreate(lamp.id));
    em.persist(other);
    await em.flush();
  });
  expect(statements).toEqual([APPEND, KEYS, APPEND]);
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.switched-on']);
  expect(await values(lamp)).toEqual([{ place: 'hall' }, { lit: true }]);
  expect(await values(other)).toEqual([{ place: 'attic' }]);
});

test('an aggregate whose key is destroyed records no event when it is created again', async () => {
  const lamp = await fixture.install('hall');
  await fork().transactional((em) => fixture.keyring.destroy(em, [lamp.id]));
  await fixture.database.sql('delete from lamp where id = $1', [lamp.id]);
  await expect(fork().persist(recreate(lamp.id)).flush()).rejects.toThrow('its key is destroyed');
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed']);
});

test('an event whose aggregate’s key is destroyed meanwhile is not stored', async () => {
  const lamp = await fixture.install('hall');
  const em = fork();
  (await em.findOneOrFail(Lamp, lamp.id)).inspect();
  // After the key was read and before the head is locked.
  const { keysFor } = fixture.keyring;
  const spy = jest.spyOn(fixture.keyring, 'keysFor').mockImplementation(async (...args) => {
    const keys = await keysFor.apply(fixture.keyring, args);
    spy.mockRestore();
    await fork().transactional(async (other) => (await other.findOneOrFail(Lamp, lamp.id)).remove());
    return keys;
  });
  await expect(em.flush()).rejects.toThrow('its key is destroyed');
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.removed']);
});

test('an aggregate that is created and removed in one transaction leaves a destroyed key', async () => {
  const lamp = Lamp.install('hall');
  await fork().transactional(async (em) => {
    em.persist(lamp);
    await em.flush();
    lamp.remove();
  });
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.removed']);
  const [key] = await fixture.database.sql<{ destroyed: boolean }>(
    'select wrapped_key is null as destroyed from eventing.encryption_key where aggregate_id = $1',
    [lamp.id],
  );
  expect(key).toEqual({ destroyed: true });
});

test('a flush of thousands of aggregates takes no longer for each of them', async () => {
  const em = fork();
  const many = Array.from({ length: 6_000 }, () => Lamp.install('hall'));
  em.persist(many);
  // With a map of all heads that was copied for each event, this exceeded the time-out of the app's role.
  await em.flush();
  expect(await fixture.typesOf(many.at(-1)!)).toEqual(['1 lamp.installed']);
}, 60_000);

test('transactions about the same aggregates in any order neither deadlock nor leave gaps', async () => {
  const lamps = await Promise.all(Array.from({ length: 4 }, () => fixture.install()));
  const shuffled = () => lamps.toSorted(() => Math.random() - 0.5);
  await Promise.all(
    Array.from({ length: 40 }, () =>
      fork().transactional(async (em) => {
        for (const { id } of shuffled()) (await em.findOneOrFail(Lamp, id)).inspect();
      }),
    ),
  );
  const expected = Array.from({ length: 41 }, (_, i) => `${i + 1}`);
  for (const lamp of lamps) {
    expect((await fixture.storedEvents(lamp)).map(({ sequence }) => sequence)).toEqual(expected);
    const messages = await fixture.database.sql<{ sequence: number }>(
      `select (envelope ->> 'sequence')::int as sequence from eventing.outbox where ordering_key = $1 order by position`,
      [lamp.id],
    );
    expect(messages.map(({ sequence }) => `${sequence}`)).toEqual(expected);
  }
});

/** Returns a new entity under an id that was used before, with an event. */
function recreate(id: string): Lamp {
  const it = Object.assign(new Lamp(), { id, place: 'cellar', lit: false });
  it.switchOn();
  return it;
}
