import { sourceOf, topicOf } from '#eventing/cloud-event';
import { endOtherSessionsOnDevice, events, system } from '#member';
import { readLogIn } from './log-in-fact.ts';
import type { Worker } from './worker.ts';

/** Ends other members' sessions on a device when a member logs in on it. */
export const otherMemberLogout: Worker = ({ keyring }) => ({
  [topicOf(system, 'internal')]: {
    source: sourceOf(system),
    consumers: [
      {
        name: 'other-member-logout',
        order: 'convergent',
        types: [events.loggedIn.type],
        async handle(em, event) {
          const login = await readLogIn(keyring, em, event);
          if (login) await endOtherSessionsOnDevice(em, login.deviceId);
        },
      },
    ],
  },
});
