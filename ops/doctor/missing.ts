import { z } from 'zod';
import type { Gap } from '#eventing/gaps';
import type { MissingEvent } from '#eventing/missing-events';
import { ask, count, type Get } from './api.ts';
import { type Finding, finding, remedy } from './finding.ts';

const gapsPage = z.object({ gaps: z.custom<Gap[]>(Array.isArray) });
const eventsPage = z.object({ events: z.custom<MissingEvent[]>(Array.isArray) });

const PAGE = 200;

export interface Missing {
  /** Longest waiting first. */
  readonly gaps: readonly Gap[];
  readonly events: readonly MissingEvent[];
  /** What could not be read, one sentence each. */
  readonly unseen: readonly string[];
}

/** Reads the system's lists of events that have not arrived; empty for an API of the previous release, which has none. */
export async function readMissing(get: Get): Promise<Missing> {
  const [gaps, events] = await Promise.all([
    ask(get, `/v1/gaps?limit=${PAGE}`, gapsPage),
    ask(get, `/v1/missing-events?limit=${PAGE}`, eventsPage),
  ]);
  return {
    gaps: gaps && !(gaps instanceof Error) ? gaps.gaps : [],
    events: events && !(events instanceof Error) ? events.events : [],
    unseen: [
      ...(gaps instanceof Error ? [`Not checked: gaps in the streams of ordered consumers. ${gaps.message}`] : []),
      ...(events instanceof Error ? [`Not checked: events that never arrived. ${events.message}`] : []),
    ],
  };
}

/** Finds ordered consumers that wait for an event although later ones have arrived, and apps that never received an event. */
export function examineMissing({ gaps, events }: Missing): Finding[] {
  const byConsumer = Map.groupBy(gaps, ({ consumer }) => consumer);
  const byPlace = Map.groupBy(events, ({ appId, topic }) => `${appId} ${topic}`);
  return [
    ...[...byConsumer].map(([consumer, its]) => {
      const { from, to, source, aggregateId, since } = its[0]!;
      const range = from === to ? `event ${from}` : `events ${from} to ${to}`;
      return finding(
        `Consumer ${consumer}`,
        `has ${count(its, 'gap', gaps.length >= PAGE)}, the oldest since ${since}: ${range} of ${source} ${aggregateId}`,
        remedy('Have the missing events published again', 'gap-in-a-stream'),
      );
    }),
    ...[...byPlace.values()].map((its) => {
      const { appId, topic, since, type, eventId } = its[0]!;
      return finding(
        `App ${appId}`,
        `never received ${count(its, 'event', events.length >= PAGE)} of ${topic}; requests for the oldest ended ${since}: ${type} ${eventId}`,
        remedy('Check its subscription, then have the events published again', 'event-never-received'),
      );
    }),
  ];
}
