// Measures what an event adds to a business transaction: the same MikroORM transactions without events, with one plain
// outbox insert of 1 KB, and with events, in turns: `node bench/write.ts`. Results: bench/write.md.
import { defineEntity, p } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { defineEvents, raise } from '#eventing/domain-event';
import { EventStore } from '#eventing/event-store';
import { Keyring } from '#eventing/keyring';
import { execute } from '#eventing/sql';
import { connect } from '#process/database';
import { Progress } from '../local/progress.ts';
import { benchFolder, machine, median, openDatabase } from './harness.ts';

/** Short turns, many of them: the speed of a shared machine changes within seconds. */
const TRANSACTIONS = 250;
const ROUNDS = 40;
const WARM_UP_ROUNDS = 4;
const CONNECTIONS = 8;
/** Makes an event of 0.6 KB. */
const NOTE = 'x'.repeat(440);

const events = defineEvents('lamp', {
  changed: { type: 'lamp.changed', attributes: z.object({ note: z.string() }) },
});
const schema = defineEntity({
  name: 'Lamp',
  tableName: 'lamp',
  properties: { id: p.uuid().primary(), note: p.string(), count: p.integer() },
});
class Lamp extends schema.class {}
schema.setClass(Lamp);

const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const { database, appUrl } = await openDatabase(await benchFolder(stack), stack, progress);
await database.query(`create table lamp (id uuid primary key, note text not null, count int not null);
  create table plain_outbox (id uuid primary key, envelope jsonb not null);
  grant select, insert, update on lamp, plain_outbox to bench_app`);
const store = new EventStore({
  system: { name: 'lamp', identifier: 'lampId' },
  program: 'bench',
  keyring: new Keyring([Buffer.alloc(32, 7)]),
  wakeRelay: () => undefined,
});
const orm = await connect({ url: appUrl, entities: [Lamp], subscribers: [store], pool: { min: 0, max: CONNECTIONS } });
stack.defer(() => orm.close(true));

/** What a transaction does besides changing the entity. */
const extras: Record<string, (em: EntityManager, lamp: Lamp) => unknown> = {
  'no event': () => undefined,
  'a plain outbox insert': (em) =>
    execute(em, 'insert into plain_outbox (id, envelope) values (?, ?::jsonb)', [
      uuid(),
      JSON.stringify({ data: 'x'.repeat(980) }),
    ]),
  'an event': (_, lamp) => raise(lamp, events.changed(lamp.id, { note: NOTE })),
};
const ids = await createLamps();

const rows: string[] = [];
for (const kind of ['a new aggregate', 'an existing aggregate'] as const) {
  const rates = new Map<string, number[]>();
  const wal = new Map<string, number[]>();
  for (let round = 1 - WARM_UP_ROUNDS; round <= ROUNDS; round++) {
    for (const [name, extra] of Object.entries(extras)) {
      const before = await walBytes();
      const since = performance.now();
      await inParallel((n) => transaction(kind, n, extra));
      const rate = TRANSACTIONS / ((performance.now() - since) / 1000);
      if (round <= 0) continue;
      rates.set(name, [...(rates.get(name) ?? []), rate]);
      wal.set(name, [...(wal.get(name) ?? []), ((await walBytes()) - before) / TRANSACTIONS]);
    }
    if (round > 0 && round % 10 === 0) progress.print(`${kind}: round ${round} of ${ROUNDS}`);
  }
  const [none, plain, event] = [...rates.values()].map(median) as [number, number, number];
  const [nones, plains, withEvents] = [...rates.values()] as [number[], number[], number[]];
  const ratioTo = (others: number[]) => median(withEvents.map((rate, round) => rate / others[round]!)).toFixed(2);
  const [walNone, , walEvent] = [...wal.values()].map(median) as [number, number, number];
  rows.push(
    `| ${[kind, ...[none, plain, event].map(Math.round)].join(' | ')} | ${ratioTo(nones)} | ${ratioTo(plains)} | ${((walEvent - walNone) / 1024).toFixed(1)} |`,
  );
}
progress.line(`
${machine()};
${CONNECTIONS} connections, turns of ${TRANSACTIONS} transactions, medians of ${ROUNDS} rounds, transactions a second; ratios within a round

| transaction about | no event | a plain outbox insert | an event | of none | of plain | KB of WAL for the event |
|---|---|---|---|---|---|---|
${rows.join('\n')}`);

function transaction(
  kind: 'a new aggregate' | 'an existing aggregate',
  n: number,
  extra: (typeof extras)[string],
): Promise<void> {
  return orm.em.fork().transactional(async (em) => {
    const lamp =
      kind === 'a new aggregate'
        ? em.create(Lamp, { id: uuid(), note: NOTE, count: 0 })
        : await em.findOneOrFail(Lamp, ids[n % ids.length]!);
    lamp.count++;
    await extra(em, lamp);
  });
}

async function createLamps(): Promise<string[]> {
  const em = orm.em.fork();
  // Their first events create their keys.
  const lamps = Array.from({ length: 500 }, () => em.create(Lamp, { id: uuid(), note: NOTE, count: 0 }));
  for (const lamp of lamps) raise(lamp, events.changed(lamp.id, { note: NOTE }));
  await em.flush();
  return lamps.map(({ id }) => id);
}

async function inParallel(work: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < TRANSACTIONS) await work(next++);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
}

async function walBytes(): Promise<number> {
  const { rows } = await database.query<{ bytes: string }>(
    `select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') as bytes`,
  );
  return Number(rows[0]!.bytes);
}
