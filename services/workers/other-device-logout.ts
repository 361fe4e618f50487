import { sourceOf, topicOf } from '#eventing/cloud-event';
import { endOtherSessionsOfMember, events, system } from '#member';
import type { Worker } from './worker.ts';

/** Ends a member's other sessions after a log-in. */
export const otherDeviceLogout: Worker = () => ({
  [topicOf(system, 'internal')]: {
    source: sourceOf(system),
    consumers: [
      {
        name: 'other-device-logout',
        order: 'convergent',
        types: [events.loggedIn.type],
        handle: (em, { aggregateId }) => endOtherSessionsOfMember(em, aggregateId),
      },
    ],
  },
});
