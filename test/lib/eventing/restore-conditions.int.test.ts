import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import type { RestoreOptions } from '#eventing/restore';
import { eventually } from '../../support/eventually.ts';
import { Lamp } from './lab.ts';
import { backUp, bodies, change, lab, lampThatLosesTwo, quietly, restoreFrom, told, topic } from './restore-lab.ts';

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
