import { z } from 'zod';
import type { NotStored, Unpublished } from '#eventing/discrepancies';
import { ask, count, type Get } from './api.ts';
import { type Finding, finding, remedy } from './finding.ts';

const page = z.object({
  unpublished: z.custom<Unpublished[]>(Array.isArray),
  notStored: z.custom<NotStored[]>(Array.isArray),
  next: z.string().nullable(),
});

export interface Compared extends Omit<z.output<typeof page>, 'next'> {
  /** Why the comparison is incomplete. */
  readonly unseen?: string;
}

/** Maximum number of unpublished events per page. */
const SHOWN = 100;
/** Page limit, at 20,000 events each: the doctor does not scan the whole store. */
const MOST_PAGES = 50;

/**
 * Reads the system's comparison of its event store with its external topic, for the last hours.
 * @returns the discrepancies, and why the comparison is incomplete if it is; undefined for an API of the previous
 * release, which has no comparison
 */
export async function readDiscrepancies(get: Get): Promise<Compared | undefined> {
  const unpublished: Unpublished[] = [];
  let notStored: NotStored[] = [];
  let after = '';
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const path = `/v1/discrepancies${after && `?after=${after}`}`;
    const answer = await ask(get, path, page);
    if (!answer) return undefined;
    if (answer instanceof Error) {
      const unseen = `Some events were not compared with the external topic: ${answer.message}`;
      return { unpublished, notStored, unseen };
    }
    unpublished.push(...answer.unpublished);
    notStored = answer.notStored;
    if (answer.next === null) break;
    after = answer.next;
  }
  return { unpublished, notStored };
}

/**
 * Finds stored events that were never published externally (a stalled broadcaster) and received events that were never
 * stored (forged ones).
 */
export function examineDiscrepancies(compared: Compared | undefined): Finding[] {
  if (!compared) return [];
  const { unpublished, notStored } = compared;
  const [oldest, latest] = [unpublished[0], notStored[0]];
  return [
    ...(oldest
      ? [
          finding(
            'External topic',
            `is missing ${count(unpublished, 'stored event', unpublished.length >= SHOWN)}, the oldest from ${oldest.committedAt}: ${oldest.type} ${oldest.eventId}`,
            remedy('Trace the oldest one', 'event-never-published'),
          ),
        ]
      : []),
    ...(latest
      ? [
          finding(
            `Topic ${latest.topic ?? 'unknown'}`,
            `has ${count(notStored, 'message')} of events that were never stored, the latest received at ${latest.receivedAt}: forged, or the database was restored`,
            remedy(
              `Find out which, then redrive or discard ${latest.eventId} at ${latest.consumer}`,
              'event-never-stored',
            ),
          ),
        ]
      : []),
  ];
}
