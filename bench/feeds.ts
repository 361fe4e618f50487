import type { MikroORM } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import type { Message } from './broker.ts';
import { makeEvents } from './events.ts';
import { type Extra, write } from './lamps.ts';
import type { Feed } from './pipeline.ts';
import { openLoop } from './statistics.ts';

/** Connections in a closed loop: each begins the next piece of work as soon as its last one is done. */
export const CONNECTIONS = 8;

/** Feeds by transactions that create lamps, and do `extra`. */
export const transactions = (orm: MikroORM, extra: Extra): Feed => eachId((id) => write(orm, id, false, extra));

/** Feeds by work about one new id each. */
export function eachId(work: (id: string) => Promise<unknown>): Feed {
  return async (events, rate) => {
    const ids = Array.from({ length: events }, () => uuid());
    if (rate !== undefined) {
      const samples = await openLoop(rate, events / rate, (n) => work(ids[n]!));
      return new Map(samples.map((sample, n) => [ids[n]!, sample]));
    }
    const waiting = ids.values();
    const connection = async () => {
      for (const id of waiting) await work(id);
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, connection));
    return new Map();
  };
}

/** Feeds by publishing through daprd: nothing is stored first. */
export function published(publish: (messages: readonly Message[]) => Promise<void>): Feed {
  return async (events, rate) => {
    const messages = makeEvents(events);
    if (rate === undefined) {
      await publish(messages);
      return new Map();
    }
    const samples = await openLoop(rate, events / rate, (n) => publish([messages[n]!]));
    return new Map(samples.map((sample, n) => [messages[n]!.event.eventId, sample]));
  };
}
