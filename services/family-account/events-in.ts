import { externalData, sourceOf, topicOf } from '#eventing/cloud-event';
import type { Subscriber } from '#eventing/receiver';
import { Recorder } from '#eventing/recorder';
import { MEMBER_EVENT_SOURCE, MEMBER_EXTERNAL_TOPIC } from '#member/contract';
import { canary, type Dependencies, externalBroadcaster, joinedCheck, membership } from './consumers.ts';
import { system } from './system.ts';

/** Returns the subscribers by topic. Each consumer of a delivery has its own transaction and its own retries. */
export function eventsIn(dependencies: Dependencies): Readonly<Record<string, Subscriber>> {
  const own = { source: sourceOf(system), recorder: new Recorder(dependencies.orm) };
  return {
    [MEMBER_EXTERNAL_TOPIC]: {
      source: MEMBER_EVENT_SOURCE,
      consumers: [membership(dependencies), canary],
      publisher: dependencies.member.publisherOf(MEMBER_EXTERNAL_TOPIC),
    },
    [topicOf(system, 'internal')]: { ...own, consumers: [externalBroadcaster, joinedCheck(dependencies)] },
    [topicOf(system, 'external')]: { ...own, dataOf: (event) => externalData(system, event) },
  };
}
