import { defineEntity, type MikroORM, p } from '@mikro-orm/core';
import type { PostgreSqlDriver } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { Canary } from '#eventing/canary';
import type { ReceivedEvent, System } from '#eventing/cloud-event';
import { defineEvents, raise } from '#eventing/domain-event';
import { EventStore } from '#eventing/event-store';
import { Keyring } from '#eventing/keyring';
import { connect } from '#process/database';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

/** A neutral domain for the tests of eventing: lamps that are switched on and off. */
export const lamps: System = { name: 'lamp', identifier: 'lampId' };

export const lampEvents = defineEvents('lamp', {
  installed: { type: 'lamp.installed', attributes: z.object({ place: z.string() }) },
  switchedOn: { type: 'lamp.switched-on', attributes: z.object({ lit: z.boolean() }) },
  inspected: { type: 'lamp.inspected', attributes: z.object({}) },
  restored: { type: 'lamp.restored', attributes: z.strictObject({}) },
  canarySent: { type: 'lamp.canary-sent', attributes: z.strictObject({}) },
  removed: { type: 'lamp.removed', attributes: z.object({ place: z.string().nullable() }), erases: true },
});

const schema = defineEntity({
  name: 'Lamp',
  tableName: 'lamp',
  properties: {
    id: p.uuid().primary(),
    place: p.string(),
    lit: p.boolean(),
    version: p.integer().version(),
    spare: () => p.manyToOne(Lamp).nullable(),
  },
});

export class Lamp extends schema.class {
  static install(place: string): Lamp {
    const lamp = new Lamp();
    lamp.id = uuid();
    lamp.place = place;
    lamp.lit = false;
    raise(lamp, lampEvents.installed(lamp.id, { place }));
    return lamp;
  }
  switchOn(): void {
    if (this.lit) return;
    this.lit = true;
    raise(this, lampEvents.switchedOn(this.id, { lit: true }));
  }
  /** Raises an event without changing a column. */
  inspect(reason?: string): void {
    raise(this, lampEvents.inspected(this.id, {}, reason));
  }
  remove(): void {
    this.place = '';
    raise(this, lampEvents.removed(this.id, { place: null }));
  }
}
schema.setClass(Lamp);

/** Builds an event of a lamp as consumers receive it. */
export function eventOf(aggregateId: string, sequence: number, change: Partial<ReceivedEvent> = {}): ReceivedEvent {
  return {
    messageId: uuid(),
    eventId: uuid(),
    type: 'lamp.inspected',
    source: '/lamp',
    aggregateId,
    sequence,
    target: 'ALL',
    time: new Date().toISOString(),
    data: {},
    ...change,
  };
}

/** A row of the event store. */
export interface StoredEvent {
  id: string;
  aggregate_id: string;
  sequence: string;
  event_type: string;
  attributes: Record<string, string>;
  event_channel: string;
  requested_by: string;
  traceparent: string;
}

/** A database with the tables of eventing and of the lamps, with an ORM. */
export interface Fixture extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly orm: MikroORM<PostgreSqlDriver>;
  readonly keyring: Keyring;
  /** Returns the number of wake-ups sent to the relay so far. */
  wakeUps(): number;
  /** Stores a new lamp. */
  install(place?: string): Promise<Lamp>;
  /** Returns the stored events of a lamp, in sequence. */
  storedEvents(lamp: Pick<Lamp, 'id'>): Promise<StoredEvent[]>;
  /** Returns the same in short form: `1 lamp.installed`. */
  typesOf(lamp: Pick<Lamp, 'id'>): Promise<string[]>;
}

export async function openFixture(): Promise<Fixture> {
  const database = await createTestDatabase('lamp');
  await database.sql(`create table lamp (id uuid primary key, place text not null, lit boolean not null, version int not null default 1, spare_id uuid references lamp);
    grant select, insert, update, delete on lamp to lamp_app`);
  const keyring = new Keyring([Buffer.alloc(32, 7)]);
  let wakeUps = 0;
  const store = new EventStore({ system: lamps, program: 'lamp', keyring, wakeRelay: () => void wakeUps++ });
  const orm = await connect({ url: database.urls.app, entities: [Lamp, Canary], subscribers: [store] });
  const storedEvents = ({ id }: Pick<Lamp, 'id'>) =>
    database.sql<StoredEvent>('select * from eventing.event_store where aggregate_id = $1 order by sequence', [id]);
  return {
    storedEvents,
    typesOf: async (lamp) => (await storedEvents(lamp)).map((event) => `${event.sequence} ${event.event_type}`),
    async install(place = 'hall') {
      const em = orm.em.fork();
      const lamp = Lamp.install(place);
      await em.persist(lamp).flush();
      return lamp;
    },
    database,
    orm,
    keyring,
    wakeUps: () => wakeUps,
    async [Symbol.asyncDispose]() {
      await orm.close(true);
      await database.drop();
    },
  };
}
