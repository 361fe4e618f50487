import { defineEntity, p } from '@mikro-orm/core';
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { defineEvents, raise } from '#eventing/domain-event';
import { EventStore } from '#eventing/event-store';
import { Keyring } from '#eventing/keyring';
import { execute } from '#eventing/sql';
import { connect } from '#process/database';
import { SYSTEM } from './events.ts';

/** Makes an event of 0.6 KB, and a message of 1 KB. */
export const NOTE = 'x'.repeat(440);

const events = defineEvents('member', {
  changed: { type: 'member.changed', attributes: z.object({ note: z.string() }) },
});
const schema = defineEntity({
  name: 'Lamp',
  tableName: 'lamp',
  properties: { id: p.uuid().primary(), note: p.string(), count: p.integer() },
});
export class Lamp extends schema.class {}
schema.setClass(Lamp);

/** Connects with the event store, as a service does, to a database with the tables of a domain. It is closed by `stack`. */
export async function openLamps(
  stack: AsyncDisposableStack,
  { database, appUrl, connections, wakeRelay }: LampOptions,
): Promise<MikroORM> {
  await database.query(`
    create table if not exists lamp (id uuid primary key, note text not null, count int not null);
    create table if not exists plain_outbox (id uuid primary key, envelope jsonb not null);
    grant select, insert, update on lamp, plain_outbox to bench_app`);
  const store = new EventStore({
    system: SYSTEM,
    program: 'bench',
    keyring: new Keyring([Buffer.alloc(32, 7)]),
    wakeRelay: () => wakeRelay?.(orm),
  });
  const pool = { min: 0, max: connections };
  const orm: MikroORM = await connect({ url: appUrl, entities: [Lamp], subscribers: [store], pool });
  stack.defer(() => orm.close(true));
  return orm;
}

export interface LampOptions {
  readonly database: Client;
  readonly appUrl: string;
  readonly connections: number;
  readonly wakeRelay?: (orm: MikroORM) => void;
}

/** What a transaction does besides changing the entity. */
export type Extra = (em: EntityManager, lamp: Lamp) => unknown;

export const extras: Readonly<Record<'no event' | 'a plain outbox insert' | 'an event', Extra>> = {
  'no event': () => undefined,
  'a plain outbox insert': (em) =>
    execute(em, 'insert into plain_outbox (id, envelope) values (?, ?::jsonb)', [
      uuid(),
      JSON.stringify({ data: 'x'.repeat(980) }),
    ]),
  'an event': (_, lamp) => raise(lamp, events.changed(lamp.id, { note: NOTE })),
};

/** Creates lamp `id`, or changes it if it is one of `existing`, in a transaction. */
export function write(orm: MikroORM, id: string, existing: boolean, extra: Extra): Promise<void> {
  return orm.em.fork().transactional(async (em) => {
    const lamp = existing ? await em.findOneOrFail(Lamp, id) : em.create(Lamp, { id, note: NOTE, count: 0 });
    lamp.count++;
    await extra(em, lamp);
  });
}

/** Creates lamps with their first events, which create their keys. @returns their ids */
export async function createLamps(orm: MikroORM, count: number): Promise<string[]> {
  const em = orm.em.fork();
  const lamps = Array.from({ length: count }, () => em.create(Lamp, { id: uuid(), note: NOTE, count: 0 }));
  for (const lamp of lamps) extras['an event'](em, lamp);
  await em.flush();
  return lamps.map(({ id }) => id);
}
