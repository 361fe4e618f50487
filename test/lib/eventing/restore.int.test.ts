import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { CANARY_ID, ownCanaries } from '#eventing/canary';
import { type Envelope, readEnvelope } from '#eventing/cloud-event';
import { type RestoreOptions, restore } from '#eventing/restore';
import { eventually } from '../../support/eventually.ts';
import { snapshotOf } from '../../support/snapshot.ts';
import { type Fact, type Lab, Lamp, lampEvents, lamps, openLab } from './lab.ts';

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(() => lab[Symbol.asyncDispose]());

/** A database that can be made what it is now. */
const backUp = () => snapshotOf(lab.database);

const change = (lamp: Lamp, how: (lamp: Lamp) => void) =>
  lab.orm.em.fork().transactional(async (em) => how(await em.findOneOrFail(Lamp, lamp.id)));

/** What the internal topic has of all that was stated, oldest first. */
const topic = async (): Promise<Envelope[]> =>
  (await lab.database.sql<{ envelope: Envelope }>('select envelope from eventing.outbox order by position')).map(
    ({ envelope }) => envelope,
  );

async function* bodies(envelopes: readonly unknown[]): AsyncGenerator<string> {
  for (const envelope of envelopes) yield typeof envelope === 'string' ? envelope : JSON.stringify(envelope);
}

const recallNothing = async () => undefined;
const restoreFrom = (envelopes: readonly unknown[], options: Partial<RestoreOptions> = {}) =>
  restore({
    orm: lab.orm,
    system: lamps,
    events: lampEvents,
    messages: bodies(envelopes),
    recall: recallNothing,
    ...options,
  });

/** What waits for the relay, in its order. */
const waiting = async () => (await topic()).map((it) => readEnvelope(it));
const told = async (lamp: Pick<Lamp, 'id'>) =>
  (await waiting())
    .filter(({ aggregateId }) => aggregateId === lamp.id)
    .map(({ sequence, type }) => `${sequence} ${type}`);

/** A lamp with two facts that the database loses. */
async function lampThatLosesTwo() {
  const lamp = await lab.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.switchOn());
  await change(lamp, (it) => it.inspect('it flickers'));
  const [facts, messages] = [await lab.factsOf(lamp), await topic()];
  await restoreDatabase();
  expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed']);
  return { lamp, facts, messages };
}

test('what the database has lost is stored again as it was stated, and published again in sequence', async () => {
  const { lamp, facts, messages } = await lampThatLosesTwo();
  await lab.database.sql('delete from eventing.outbox');
  expect(await restoreFrom(messages)).toEqual({ putBack: 2, overtaken: 0, gaps: 0, aggregates: 1 });
  const said = ({
    id,
    sequence,
    event_type,
    attributes,
    reason,
    traceparent,
    created_at,
  }: Fact & Record<string, unknown>) => ({ id, sequence, event_type, attributes, reason, traceparent, created_at });
  const [first, second, third, ...more] = await lab.factsOf(lamp);
  expect([first, second, third].map((it) => said(it as never))).toEqual(facts.map((it) => said(it as never)));
  expect(more.map(({ event_type }) => event_type)).toEqual(['lamp.restored']);
  const again = await waiting();
  expect(again.map(({ eventId, sequence, target }) => [eventId, sequence, target])).toEqual([
    [facts[1]!.id, 2, 'ALL'],
    [facts[2]!.id, 3, 'ALL'],
    [more[0]!.id, 4, 'ALL'],
  ]);
  expect(again[1]!.data).toEqual(readEnvelope(messages.at(-1)).data);
  expect(messages.map(({ id }) => id)).not.toContain(again[0]!.messageId);
});

test('what happens from then on goes on behind all that was ever stated', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  await restoreFrom(messages);
  await change(lamp, (it) => it.inspect());
  expect(await lab.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.switched-on',
    '3 lamp.inspected',
    '4 lamp.restored',
    '5 lamp.inspected',
  ]);
  expect((await told(lamp)).slice(-4)).toEqual([
    '2 lamp.switched-on',
    '3 lamp.inspected',
    '4 lamp.restored',
    '5 lamp.inspected',
  ]);
});

test('an aggregate that has lost nothing states nothing', async () => {
  const other = await lab.install();
  const { messages } = await lampThatLosesTwo();
  await restoreFrom(messages);
  expect(await lab.typesOf(other)).toEqual(['1 lamp.installed']);
});

test('each lost fact is recalled once, in the order in which they were stated, with what it says', async () => {
  const [one, two] = [await lab.install(), await lab.install()];
  const restoreDatabase = await backUp();
  await change(two, (it) => it.switchOn());
  await change(one, (it) => it.inspect('it flickers'));
  await change(two, (it) => it.inspect());
  const messages = await topic();
  await restoreDatabase();
  const recalled: unknown[] = [];
  const finished: number[] = [];
  await restoreFrom(messages, {
    async recall(em, fact) {
      const values = await lab.keyring.reveal(em, fact, {
        ...fact.data.attributes,
        ...(fact.data.reason && { '#reason': fact.data.reason }),
      });
      recalled.push([fact.aggregateId, fact.type, values]);
      expect(Date.now() - Date.parse(fact.time)).toBeLessThan(60_000);
    },
    finish: async () => void finished.push(recalled.length),
  });
  expect(recalled).toEqual([
    [two.id, 'lamp.switched-on', { lit: true }],
    [one.id, 'lamp.inspected', { '#reason': 'it flickers' }],
    [two.id, 'lamp.inspected', {}],
  ]);
  expect(finished).toEqual([3]);
});

test('what is recalled and stated meanwhile is committed with it, behind it', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  await restoreFrom(messages, {
    async recall(em, { type, aggregateId }) {
      if (type === 'lamp.switched-on') (await em.findOneOrFail(Lamp, aggregateId)).lit = true;
    },
    finish: async (em) => (await em.findOneOrFail(Lamp, lamp.id)).inspect(),
  });
  expect((await lab.orm.em.fork().findOneOrFail(Lamp, lamp.id)).lit).toBe(true);
  expect((await lab.typesOf(lamp)).slice(3)).toEqual(['4 lamp.restored', '5 lamp.inspected']);
});

test('a canary is put back, and recalled to nobody', async () => {
  const lamp = await lab.install();
  const restoreDatabase = await backUp();
  const canaries = ownCanaries(
    { system: lamps, keyring: lab.keyring, broadcaster: { name: 'b' } },
    lampEvents.canarySent,
  );
  await canaries.send(lab.orm.em.fork());
  await change(lamp, (it) => it.inspect());
  const messages = await topic();
  await restoreDatabase();
  const recalled: string[] = [];
  await restoreFrom(messages, { recall: async (_, { type }) => void recalled.push(type) });
  expect(recalled).toEqual(['lamp.inspected']);
  expect(await lab.typesOf({ id: CANARY_ID })).toEqual(['1 lamp.canary-sent', '2 lamp.restored']);
});

test('once done, it finds nothing to do', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  await restoreFrom(messages);
  const [stored, waits] = [await lab.typesOf(lamp), await told(lamp)];
  expect(await restoreFrom(messages)).toEqual({ putBack: 0, overtaken: 0, gaps: 0, aggregates: 0 });
  expect(await restoreFrom(await topic())).toEqual({ putBack: 0, overtaken: 0, gaps: 0, aggregates: 0 });
  expect([await lab.typesOf(lamp), await told(lamp)]).toEqual([stored, waits]);
});

test('when it breaks off, nothing is published nor recalled, and begun again it does all', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const breaks = restoreFrom(messages, {
    async recall(em, { type, aggregateId }) {
      (await em.findOneOrFail(Lamp, aggregateId)).lit = true;
      if (type === 'lamp.inspected') throw new Error('killed');
    },
  });
  await expect(breaks).rejects.toThrow('killed');
  expect((await lab.orm.em.fork().findOneOrFail(Lamp, lamp.id)).lit).toBe(false);
  expect(await told(lamp)).toEqual(['1 lamp.installed']);
  expect(await restoreFrom(messages)).toMatchObject({ putBack: 2, aggregates: 1 });
  expect(await told(lamp)).toEqual(['1 lamp.installed', '2 lamp.switched-on', '3 lamp.inspected', '4 lamp.restored']);
});

test('a second restore, to before the first, puts back what the first one stated as well', async () => {
  const lamp = await lab.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.switchOn());
  const once = await topic();
  await restoreDatabase();
  await backUp();
  await restoreFrom(once);
  const twice = [...once, ...(await topic()).slice(1)];
  await lab.database.sql(`delete from eventing.event_store where sequence > 1`);
  await lab.database.sql('update eventing.stream set last_sequence = 1');
  await lab.database.sql('delete from eventing.outbox');
  expect(await restoreFrom(twice)).toMatchObject({ putBack: 2, overtaken: 0, gaps: 0 });
  expect(await told(lamp)).toEqual(['2 lamp.switched-on', '3 lamp.restored', '4 lamp.restored']);
});

test('a sequence of which neither the database nor the topic has a fact is filled: nobody waits for it', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const [installed, , inspected] = messages;
  expect(await restoreFrom([installed, inspected])).toEqual({ putBack: 1, overtaken: 0, gaps: 1, aggregates: 1 });
  expect(await lab.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.restored',
    '3 lamp.inspected',
    '4 lamp.restored',
  ]);
  expect((await told(lamp)).slice(1)).toEqual(['2 lamp.restored', '3 lamp.inspected', '4 lamp.restored']);
});

test('a sequence that nobody can have given is refused, and not filled up to', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const strange = { ...messages.at(-1)!, sequence: '0900000000' };
  await expect(restoreFrom([messages[0], strange])).rejects.toThrow(
    `${lamp.id} has a fact with the sequence 900000000`,
  );
});

describe('when something was at work between restoring the database and this', () => {
  test('what it stated stands, and that the aggregate was restored is said behind all that anybody has heard', async () => {
    const { lamp, messages } = await lampThatLosesTwo();
    await change(lamp, (it) => it.inspect());
    const since = (await topic()).at(-1);
    expect(await restoreFrom([...messages, since])).toEqual({ putBack: 1, overtaken: 1, gaps: 0, aggregates: 1 });
    expect(await lab.typesOf(lamp)).toEqual([
      '1 lamp.installed',
      '2 lamp.inspected',
      '3 lamp.inspected',
      '4 lamp.restored',
    ]);
  });

  test('also where nothing is left to put back, once', async () => {
    const { lamp, messages } = await lampThatLosesTwo();
    for (let i = 0; i < 3; i++) await change(lamp, (it) => it.inspect());
    expect(await restoreFrom(messages)).toEqual({ putBack: 0, overtaken: 2, gaps: 0, aggregates: 1 });
    expect((await lab.typesOf(lamp)).slice(3)).toEqual(['4 lamp.inspected', '5 lamp.restored']);
    expect((await told(lamp)).at(-1)).toBe('5 lamp.restored');
    expect(await restoreFrom(messages)).toMatchObject({ aggregates: 0 });
  });
});

test('an aggregate whose last fact was lost has no fact after it', async () => {
  const lamp = await lab.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.remove());
  const messages = await topic();
  await restoreDatabase();
  await restoreFrom(messages, { recall: (em, { aggregateId }) => lab.keyring.destroy(em, [aggregateId]) });
  expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.removed']);
  expect((await told(lamp)).at(-1)).toBe('2 lamp.removed');
  await expect(change(lamp, (it) => it.inspect())).rejects.toThrow('its key is destroyed');
});

describe('a topic that does not reach back', () => {
  test('is refused, with nothing done', async () => {
    const { lamp, messages } = await lampThatLosesTwo();
    await expect(restoreFrom(messages.slice(1))).rejects.toThrow(/does not reach back .*ACCEPT_GAP=true/);
    await expect(restoreFrom([])).rejects.toThrow(/does not reach back/);
    expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed']);
  });

  test('is taken when that is accepted', async () => {
    const { lamp, messages } = await lampThatLosesTwo();
    expect(await restoreFrom(messages.slice(2), { acceptGap: true })).toMatchObject({ putBack: 1, gaps: 1 });
    expect((await lab.typesOf(lamp)).slice(1)).toEqual(['2 lamp.restored', '3 lamp.inspected', '4 lamp.restored']);
  });

  test('is none where the database was restored to before its first fact', async () => {
    const restoreDatabase = await backUp();
    const lamp = await lab.install();
    const messages = await topic();
    await restoreDatabase();
    expect(await restoreFrom(messages)).toMatchObject({ putBack: 1, gaps: 0 });
    expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.restored']);
  });
});

test('nothing is done while others are at work in the database, who could give a sequence that is lost', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const other = new Client({ connectionString: lab.database.urls.app, application_name: 'member' });
  await other.connect();
  try {
    await expect(restoreFrom(messages)).rejects.toThrow('Others are at work in the database: member (1 connections)');
  } finally {
    await other.end();
  }
  expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed']);
  await eventually(async () => expect(await restoreFrom(messages)).toMatchObject({ putBack: 2 }));
});

test('what is no event of the system’s is passed over', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const [installed, on, inspected] = messages as [Envelope, Envelope, Envelope];
  const strangers = [
    'no JSON',
    '{}',
    { ...on, id: uuid(), eventid: uuid(), source: '/elsewhere' },
    { ...on, id: uuid(), eventid: uuid(), data: { attributes: { lit: 1 } } },
    { ...on, id: uuid(), eventid: uuid(), data: 'text' },
  ];
  expect(await restoreFrom([...strangers, installed, ...strangers, on, inspected])).toMatchObject({
    putBack: 2,
    overtaken: 0,
    gaps: 0,
  });
  expect(await lab.typesOf(lamp)).toHaveLength(4);
});

test('a fact that was published more than once is put back once', async () => {
  const { messages } = await lampThatLosesTwo();
  const repeats = messages.map((it) => ({ ...it, id: uuid(), target: 'somebody' }));
  expect(await restoreFrom([...messages, ...repeats])).toMatchObject({ putBack: 2, overtaken: 0 });
});

test('of two that claim one sequence the one that was published first has it', async () => {
  const { lamp, facts, messages } = await lampThatLosesTwo();
  const second = { ...messages[2]!, id: uuid(), eventid: uuid() };
  expect(await restoreFrom([...messages, second])).toMatchObject({ putBack: 2, overtaken: 1, gaps: 0, aggregates: 1 });
  expect((await lab.factsOf(lamp))[2]!.id).toBe(facts[2]!.id);
});

test('what a retention has given up is not lost, and is not brought back', async () => {
  const lamp = await lab.install();
  await change(lamp, (it) => it.inspect());
  const messages = await topic();
  await lab.database.sql('delete from eventing.event_store where sequence = 1');
  expect(await restoreFrom(messages, { acceptGap: true })).toEqual({
    putBack: 0,
    overtaken: 0,
    gaps: 0,
    aggregates: 0,
  });
  expect(await lab.typesOf(lamp)).toEqual(['2 lamp.inspected']);
});

test('more than a page is put back and recalled to its end', async () => {
  const lamp = await lab.install();
  const restoreDatabase = await backUp();
  await lab.orm.em.fork().transactional(async (em) => {
    const it = await em.findOneOrFail(Lamp, lamp.id);
    for (let i = 0; i < 1_200; i++) it.inspect();
  });
  const messages = await topic();
  await restoreDatabase();
  let recalled = 0;
  const progress: Readonly<Record<string, number>>[] = [];
  const outcome = await restoreFrom(messages, {
    recall: async (_, { sequence }) => {
      recalled += 1;
      expect(sequence).toBe(recalled + 1);
    },
    tell: (it) => void progress.push(it),
  });
  expect([outcome.putBack, recalled]).toEqual([1_200, 1_200]);
  expect(progress).toEqual([
    { read: 500, lost: 499 },
    { read: 1_000, lost: 999 },
    { read: 1_201, lost: 1_200 },
    { recalled: 500 },
    { recalled: 1_000 },
  ]);
  expect(await told(lamp)).toHaveLength(1_202);
});
