import { sourceOf, topicOf } from '#eventing/cloud-event';
import { endOtherSessionsOnDevice, events, system } from '#member';
import { readLogin } from './login-event.ts';
import type { Worker } from './worker.ts';

/** Ends other members' sessions on a device after a member has logged in on it. */
export const otherMemberLogout: Worker = ({ keyring }) => ({
  [topicOf(system, 'internal')]: {
    source: sourceOf(system),
    consumers: [
      {
        name: 'other-member-logout',
        order: 'convergent',
        types: [events.loggedIn.type],
        async handle(em, event) {
          const login = await readLogin(keyring, em, event);
          if (login) await endOtherSessionsOnDevice(em, login.deviceId);
        },
      },
    ],
  },
});
