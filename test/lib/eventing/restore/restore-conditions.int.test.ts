import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import type { RestoreOptions } from '#eventing/restore';
import { eventually } from '../../../support/eventually.ts';
import { Lamp } from '../fixture.ts';
import {
  backUp,
  bodies,
  change,
  fixture,
  lampWithTwoLostEvents,
  pendingTypesOf,
  restoreFrom,
  silentLog,
  topic,
} from './fixture.ts';

describe('A restore after new events in the restored database', () => {
  test('keeps the new events and appends the restored event after all published sequences', async () => {
    const { lamp, messages } = await lampWithTwoLostEvents();
    await change(lamp, (it) => it.inspect());
    const since = (await topic()).at(-1);
    expect(await restoreFrom([...messages, since])).toMatchObject({
      imported: 1,
      conflicts: 1,
      gaps: 0,
      aggregates: 1,
    });
    expect(await fixture.typesOf(lamp)).toEqual([
      '1 lamp.installed',
      '2 lamp.inspected',
      '3 lamp.inspected',
      '4 lamp.restored',
    ]);
  });

  test('appends the restored event once, also when no event can be imported', async () => {
    const { lamp, messages } = await lampWithTwoLostEvents();
    for (let i = 0; i < 3; i++) await change(lamp, (it) => it.inspect());
    expect(await restoreFrom(messages)).toMatchObject({ imported: 0, conflicts: 2, gaps: 0, aggregates: 1 });
    expect((await fixture.typesOf(lamp)).slice(3)).toEqual(['4 lamp.inspected', '5 lamp.restored']);
    expect((await pendingTypesOf(lamp)).at(-1)).toBe('5 lamp.restored');
    expect(await restoreFrom(messages)).toMatchObject({ aggregates: 0 });
  });

  test('ends an aggregate whose last event conflicts, after the restored event', async () => {
    const lamp = await fixture.install();
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
    expect(await fixture.typesOf(lamp)).toEqual([
      '1 lamp.installed',
      '2 lamp.inspected',
      '3 lamp.restored',
      '4 lamp.removed',
    ]);
    expect(await restoreFrom(messages)).toMatchObject({ conflicts: 1, aggregates: 0 });
  });

  test('logs each conflicting event once, however often it was published', async () => {
    const { events, messages } = await lampWithTwoLostEvents();
    const lamp = { id: events[0]!.aggregate_id } as never;
    for (let i = 0; i < 2; i++) await change(lamp, (it) => it.inspect());
    const warnings: object[] = [];
    const log = { ...silentLog, warn: (fields: object) => void warnings.push(fields) };
    const others = await Promise.all(
      Array.from({ length: 500 }, () => ({ ...messages[0]!, id: uuid(), eventid: uuid(), subject: uuid() })),
    );
    const outcome = await restoreFrom([...messages, ...others, ...messages], { log });
    expect(outcome).toMatchObject({ imported: 500, conflicts: 2 });
    expect(warnings.map((it) => (it as { eventId: string }).eventId)).toEqual([events[1]!.id, events[2]!.id]);
  });
});

describe('A topic that begins after the latest event of the database', () => {
  const reaching = (since: number, messages: readonly unknown[]) => ({
    topic: { since: new Date(since), messages: bodies(messages) },
  });

  test('is refused without changes, even if it contains known events', async () => {
    const { lamp, messages } = await lampWithTwoLostEvents();
    await expect(restoreFrom([], reaching(Date.now() + 1_000, messages))).rejects.toThrow(
      /those published between cannot be recovered.*ACCEPT_GAP=true/,
    );
    expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed']);
  });

  test('is accepted with acceptGap', async () => {
    const { lamp, messages } = await lampWithTwoLostEvents();
    const options = { ...reaching(Date.now() + 1_000, messages.slice(2)), acceptGap: true };
    expect(await restoreFrom([], options)).toMatchObject({ imported: 1, gaps: 1 });
    expect((await fixture.typesOf(lamp)).slice(1)).toEqual(['2 lamp.restored', '3 lamp.inspected', '4 lamp.restored']);
  });

  test('is accepted when a sidecar report is later than its beginning', async () => {
    const { messages } = await lampWithTwoLostEvents();
    await fixture.database.sql(
      `insert into eventing.sidecar values ('app', 'replica', '{}', now() + interval '2 seconds')`,
    );
    expect(await restoreFrom([], reaching(Date.now() + 1_000, messages))).toMatchObject({ imported: 2 });
  });

  test('is assumed for an empty database, which may be the wrong one', async () => {
    const restoreDatabase = await backUp();
    const lamp = await fixture.install();
    const messages = await topic();
    await restoreDatabase();
    await expect(restoreFrom(messages)).rejects.toThrow('The database is empty');
    expect(await restoreFrom(messages, { acceptGap: true })).toMatchObject({ imported: 1, gaps: 0 });
    expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed', '2 lamp.restored']);
  });
});

test('a restore is refused while other sessions use the database', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  const other = new Client({ connectionString: fixture.database.urls.app, application_name: 'member' });
  await other.connect();
  try {
    await expect(restoreFrom(messages)).rejects.toThrow('Other programs use the database: member (1 connections)');
  } finally {
    await other.end();
  }
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed']);
  await eventually(async () => expect(await restoreFrom(messages)).toMatchObject({ imported: 2 }));
});

test('a running restore blocks new events and refuses a second restore', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  let inspecting: Promise<unknown> | undefined;
  await restoreFrom(messages, {
    async finish() {
      inspecting = change(lamp, (it) => it.inspect());
      await expect(restoreFrom(messages)).rejects.toThrow('Other programs use the database');
      expect(await Promise.race([inspecting, delay(300, 'waits')])).toBe('waits');
    },
  });
  await inspecting;
  expect(await fixture.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.switched-on',
    '3 lamp.inspected',
    '4 lamp.restored',
    '5 lamp.inspected',
  ]);
});
