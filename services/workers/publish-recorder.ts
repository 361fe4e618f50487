import { sourceOf, topicOf } from '#eventing/cloud-event';
import { Recorder } from '#eventing/recorder';
import { system } from '#member';
import type { Worker } from './worker.ts';

/** Hears everything that the member system publishes, and marks it as published: it has come back. */
export const publishRecorder: Worker = ({ orm }) => {
  const recorder = new Recorder(orm);
  const subscriber = { source: sourceOf(system), recorder };
  return { [topicOf(system, 'internal')]: subscriber, [topicOf(system, 'external')]: subscriber };
};
