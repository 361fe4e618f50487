import { sourceOf, topicOf } from '#eventing/cloud-event';
import type { Subscriber } from '#eventing/dapr-subscriptions';
import { Recorder } from '#eventing/recorder';
import { MEMBER_EVENT_SOURCE, MEMBER_EXTERNAL_TOPIC } from '#member/contract';
import { canary, externalBroadcaster, joinedCheck, membership, type Neighbourhood } from './consumers.ts';
import { system } from './system.ts';

/** Who hears which topic. One delivery goes to several consumers, each with its own transaction and its own tries. */
export function eventsIn(neighbourhood: Neighbourhood): Readonly<Record<string, Subscriber>> {
  const own = { source: sourceOf(system), recorder: new Recorder(neighbourhood.orm) };
  return {
    [MEMBER_EXTERNAL_TOPIC]: {
      source: MEMBER_EVENT_SOURCE,
      consumers: [membership(neighbourhood), canary],
      publisher: neighbourhood.member.publisherOf(MEMBER_EXTERNAL_TOPIC),
    },
    [topicOf(system, 'internal')]: { ...own, consumers: [externalBroadcaster, joinedCheck(neighbourhood)] },
    [topicOf(system, 'external')]: own,
  };
}
