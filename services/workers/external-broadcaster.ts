import { sourceOf, topicOf } from '#eventing/cloud-event';
import { externalBroadcaster as consumer, system } from '#member';
import type { Worker } from './worker.ts';

/** Says to other systems, in the closed form, what the member system has said to itself. */
export const externalBroadcaster: Worker = () => ({
  [topicOf(system, 'internal')]: { source: sourceOf(system), consumers: [consumer] },
});
