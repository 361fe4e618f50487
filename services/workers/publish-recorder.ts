import { externalData, sourceOf, topicOf } from '#eventing/cloud-event';
import { Recorder } from '#eventing/recorder';
import { system } from '#member';
import type { Worker } from './worker.ts';

/** Receives every message of the member system's topics and marks it as published (round-trip confirmation). */
export const publishRecorder: Worker = ({ orm }) => {
  const recorder = new Recorder(orm);
  const own = { source: sourceOf(system), recorder };
  return {
    [topicOf(system, 'internal')]: own,
    [topicOf(system, 'external')]: { ...own, dataOf: (event) => externalData(system, event) },
  };
};
