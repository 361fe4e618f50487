import { sourceOf, topicOf } from '#eventing/cloud-event';
import { externalBroadcaster as consumer, system } from '#member';
import type { Worker } from './worker.ts';

/** Enqueues an external event for each internal event of the member system. */
export const externalBroadcaster: Worker = () => ({
  [topicOf(system, 'internal')]: { source: sourceOf(system), consumers: [consumer] },
});
