import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { CANARY_ID, ownCanaries } from '#eventing/canary';
import { type Envelope, readEnvelope } from '#eventing/cloud-event';
import { withProvenance } from '#eventing/provenance';
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

const quietly = { info: () => undefined, warn: () => undefined };
const NOTHING = { putBack: 0, notRecalled: 0, overtaken: 0, gaps: 0, aggregates: 0 };
const nothing = async () => undefined;

/** Restores from a topic that has these messages, and reaches back for ever. */
const restoreFrom = (envelopes: readonly unknown[], options: Partial<RestoreOptions> = {}) =>
  withProvenance({ requestedBy: 'restore' }, () =>
    restore({
      orm: lab.orm,
      system: lamps,
      events: lampEvents,
      topic: { since: new Date(0), messages: bodies(envelopes) },
      recall: nothing,
      end: nothing,
      log: quietly,
      ...options,
    }),
  );

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
  expect(await restoreFrom(messages)).toEqual({ putBack: 2, notRecalled: 0, overtaken: 0, gaps: 0, aggregates: 1 });
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
  // Who stated it, and where, the topic does not tell.
  const by = ({ event_channel, requested_by }: Fact) => [event_channel, requested_by];
  expect([first!, second!, more[0]!].map(by)).toEqual([
    ['lab', 'system'],
    ['unknown', 'unknown'],
    ['restore', 'restore'],
  ]);
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
  expect(await restoreFrom(messages)).toEqual(NOTHING);
  expect(await restoreFrom(await topic())).toEqual(NOTHING);
  expect([await lab.typesOf(lamp), await told(lamp)]).toEqual([stored, waits]);
});

test('when it breaks off, nothing is done, and begun again it does all, whatever was stated meanwhile', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const breaks = restoreFrom(messages, { finish: () => Promise.reject(new Error('killed')) });
  await expect(breaks).rejects.toThrow('killed');
  expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed']);
  expect(await told(lamp)).toEqual(['1 lamp.installed']);
  await change(lamp, (it) => it.inspect());
  expect(await restoreFrom(messages)).toMatchObject({ putBack: 1, overtaken: 1, aggregates: 1 });
  expect(await lab.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.inspected',
    '3 lamp.inspected',
    '4 lamp.restored',
  ]);
});

test('a fact that cannot be done again is told, and keeps nobody else from it', async () => {
  const { lamp, facts, messages } = await lampThatLosesTwo();
  const warnings: object[] = [];
  const outcome = await restoreFrom(messages, {
    async recall(em, { type, aggregateId }) {
      const it = await em.findOneOrFail(Lamp, aggregateId);
      if (type === 'lamp.inspected') it.place = 'cellar';
      else await em.execute('insert into lamp (id, place, lit) select id, place, lit from lamp');
    },
    log: { ...quietly, warn: (fields) => void warnings.push(fields) },
  });
  expect(outcome).toMatchObject({ putBack: 2, notRecalled: 1 });
  expect(warnings).toEqual([
    expect.objectContaining({ eventId: facts[1]!.id, aggregateId: lamp.id, type: 'lamp.switched-on' }),
  ]);
  expect((await lab.orm.em.fork().findOneOrFail(Lamp, lamp.id)).place).toBe('cellar');
});

test('an aggregate whose last fact cannot be done again is ended all the same: nothing that was erased comes back', async () => {
  const lamp = await lab.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.remove());
  const messages = await topic();
  await restoreDatabase();
  const ended: string[] = [];
  const outcome = await restoreFrom(messages, {
    recall: () => Promise.reject(new Error('garbled')),
    async end(em, id) {
      ended.push(id);
      await lab.keyring.destroy(em, [id]);
    },
  });
  expect(outcome).toMatchObject({ putBack: 1, notRecalled: 1 });
  expect(ended).toEqual([lamp.id]);
  await expect(change(lamp, (it) => it.inspect())).rejects.toThrow('its key is destroyed');
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

test('a sequence of which neither the database nor the topic has a fact is filled when that is accepted: nobody waits for it', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const [installed, , inspected] = messages;
  await expect(restoreFrom([installed, inspected])).rejects.toThrow(`The topic lacks facts of ${lamp.id}`);
  expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed']);
  expect(await restoreFrom([installed, inspected], { acceptGap: true })).toMatchObject({
    putBack: 1,
    overtaken: 0,
    gaps: 1,
    aggregates: 1,
  });
  expect(await lab.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.restored',
    '3 lamp.inspected',
    '4 lamp.restored',
  ]);
  expect((await told(lamp)).slice(1)).toEqual(['2 lamp.restored', '3 lamp.inspected', '4 lamp.restored']);
});

test('a sequence that nobody can have given is passed over, and not filled up to', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const strange = { ...messages.at(-1)!, id: uuid(), eventid: uuid(), sequence: '0900000000' };
  expect(await restoreFrom([...messages, strange])).toMatchObject({ putBack: 2, overtaken: 0, gaps: 0 });
  expect((await lab.typesOf(lamp)).at(-1)).toBe('4 lamp.restored');
});

describe('when something was at work between restoring the database and this', () => {
  test('what it stated stands, and that the aggregate was restored is said behind all that anybody has heard', async () => {
    const { lamp, messages } = await lampThatLosesTwo();
    await change(lamp, (it) => it.inspect());
    const since = (await topic()).at(-1);
    expect(await restoreFrom([...messages, since])).toMatchObject({ putBack: 1, overtaken: 1, gaps: 0, aggregates: 1 });
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
    expect(await restoreFrom(messages)).toMatchObject({ putBack: 0, overtaken: 2, gaps: 0, aggregates: 1 });
    expect((await lab.typesOf(lamp)).slice(3)).toEqual(['4 lamp.inspected', '5 lamp.restored']);
    expect((await told(lamp)).at(-1)).toBe('5 lamp.restored');
    expect(await restoreFrom(messages)).toMatchObject({ aggregates: 0 });
  });

  test('one whose last fact was lost to it is ended, once the rest has been said', async () => {
    const lamp = await lab.install();
    const restoreDatabase = await backUp();
    await change(lamp, (it) => it.remove());
    const messages = await topic();
    await restoreDatabase();
    await change(lamp, (it) => it.inspect());
    const ended: string[] = [];
    const end: RestoreOptions['end'] = async (em, id) => {
      ended.push(id);
      (await em.findOneOrFail(Lamp, id)).remove();
    };
    await restoreFrom(messages, { end });
    expect(ended).toEqual([lamp.id]);
    expect(await lab.typesOf(lamp)).toEqual([
      '1 lamp.installed',
      '2 lamp.inspected',
      '3 lamp.restored',
      '4 lamp.removed',
    ]);
    expect(await restoreFrom(messages)).toMatchObject({ overtaken: 1, aggregates: 0 });
  });

  test('what was lost to it is told, each fact once however often it was published', async () => {
    const { facts, messages } = await lampThatLosesTwo();
    const lamp = { id: facts[0]!.aggregate_id } as never;
    for (let i = 0; i < 2; i++) await change(lamp, (it) => it.inspect());
    const warnings: object[] = [];
    const log = { ...quietly, warn: (fields: object) => void warnings.push(fields) };
    const others = await Promise.all(
      Array.from({ length: 500 }, () => ({ ...messages[0]!, id: uuid(), eventid: uuid(), subject: uuid() })),
    );
    const outcome = await restoreFrom([...messages, ...others, ...messages], { log });
    expect(outcome).toMatchObject({ putBack: 500, overtaken: 2 });
    expect(warnings.map((it) => (it as { eventId: string }).eventId)).toEqual([facts[1]!.id, facts[2]!.id]);
  });
});

test('an aggregate whose last fact was lost has no fact after it', async () => {
  const lamp = await lab.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.remove());
  const messages = await topic();
  await restoreDatabase();
  await restoreFrom(messages, {
    async recall(em, { aggregateId }, isOver) {
      expect(isOver).toBe(true);
      await lab.keyring.destroy(em, [aggregateId]);
    },
  });
  expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.removed']);
  expect((await told(lamp)).at(-1)).toBe('2 lamp.removed');
  await expect(change(lamp, (it) => it.inspect())).rejects.toThrow('its key is destroyed');
});

describe('a topic that does not reach back to the latest moment of the database', () => {
  const reaching = (since: number, messages: readonly unknown[]) => ({
    topic: { since: new Date(since), messages: bodies(messages) },
  });

  test('is refused, with nothing done, although it may begin with what the database knows', async () => {
    const { lamp, messages } = await lampThatLosesTwo();
    await expect(restoreFrom([], reaching(Date.now() + 1_000, messages))).rejects.toThrow(
      /what was published between cannot be had any more.*ACCEPT_GAP=true/,
    );
    expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed']);
  });

  test('is taken when that is accepted', async () => {
    const { lamp, messages } = await lampThatLosesTwo();
    const options = { ...reaching(Date.now() + 1_000, messages.slice(2)), acceptGap: true };
    expect(await restoreFrom([], options)).toMatchObject({ putBack: 1, gaps: 1 });
    expect((await lab.typesOf(lamp)).slice(1)).toEqual(['2 lamp.restored', '3 lamp.inspected', '4 lamp.restored']);
  });

  test('is none where anybody has reported or heard later, although nothing was stated', async () => {
    const { messages } = await lampThatLosesTwo();
    await lab.database.sql(
      `insert into eventing.sidecar values ('app', 'replica', '{}', now() + interval '2 seconds')`,
    );
    expect(await restoreFrom([], reaching(Date.now() + 1_000, messages))).toMatchObject({ putBack: 2 });
  });

  test('is what an empty database makes of any: it may be the wrong one', async () => {
    const restoreDatabase = await backUp();
    const lamp = await lab.install();
    const messages = await topic();
    await restoreDatabase();
    await expect(restoreFrom(messages)).rejects.toThrow('The database is empty');
    expect(await restoreFrom(messages, { acceptGap: true })).toMatchObject({ putBack: 1, gaps: 0 });
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

test('nobody states anything while it is at work, and there is one of it at a time', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  let states: Promise<unknown> | undefined;
  await restoreFrom(messages, {
    async finish() {
      states = change(lamp, (it) => it.inspect());
      await expect(restoreFrom(messages)).rejects.toThrow('Others are at work in the database');
      expect(await Promise.race([states, delay(300, 'waits')])).toBe('waits');
    },
  });
  await states;
  expect(await lab.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.switched-on',
    '3 lamp.inspected',
    '4 lamp.restored',
    '5 lamp.inspected',
  ]);
});

test('an aggregate’s facts are recalled in sequence, whatever the clocks of those who stated them said', async () => {
  const { lamp, messages } = await lampThatLosesTwo();
  const [installed, on, inspected] = messages as [Envelope, Envelope, Envelope];
  const slow = { ...inspected, eventid: `0${inspected.eventid.slice(1)}` };
  const recalled: number[] = [];
  await restoreFrom([installed, on, slow], { recall: async (_, { sequence }) => void recalled.push(sequence) });
  expect([recalled, (await lab.typesOf(lamp)).length]).toEqual([[2, 3], 4]);
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
    { ...on, id: uuid(), eventid: uuid(), sequence: '4', data: { attributes: { lit: 'a\u0000b' } } },
    { ...on, id: uuid(), eventid: uuid(), sequence: '4', data: { attributes: { 'l\ud800': 'ab' } } },
    { ...on, id: uuid(), eventid: uuid(), sequence: '4', time: '0000-01-01T00:00:00Z' },
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
  // Whoever publishes it again may write ids as he likes.
  const repeats = messages.map((it) => ({
    ...it,
    id: uuid(),
    eventid: it.eventid.toUpperCase(),
    subject: it.subject.toUpperCase(),
  }));
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
  expect(await restoreFrom(messages, { acceptGap: true })).toEqual(NOTHING);
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
  const progress: object[] = [];
  const outcome = await restoreFrom(messages, {
    recall: async (_, { sequence }) => {
      recalled += 1;
      expect(sequence).toBe(recalled + 1);
    },
    log: { ...quietly, info: (it) => void progress.push(it) },
  });
  expect([outcome.putBack, recalled]).toEqual([1_200, 1_200]);
  expect(progress).toEqual([
    { read: 500, lost: 499 },
    { read: 1_000, lost: 999 },
    { read: 1_201, lost: 1_200 },
    { recalled: 500 },
    { recalled: 1_000 },
    { recalled: 1_200 },
  ]);
  expect(await told(lamp)).toHaveLength(1_202);
});
