import { v7 as uuid } from 'uuid';
import { CANARY_ID, ownCanaries } from '#eventing/canary';
import { type Envelope, readEnvelope } from '#eventing/cloud-event';
import { type Fact, Lamp, lampEvents, lamps } from './lab.ts';
import {
  backUp,
  change,
  lab,
  lampThatLosesTwo,
  NOTHING,
  quietly,
  restoreFrom,
  told,
  topic,
  waiting,
} from './restore-lab.ts';

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
