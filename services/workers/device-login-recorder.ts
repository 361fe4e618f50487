import { sourceOf, topicOf } from '#eventing/cloud-event';
import { events, recordDeviceLogin, system } from '#member';
import { readLogin } from './login-event.ts';
import type { Worker } from './worker.ts';

/** Records each log-in in the login records that members can list. */
export const deviceLoginRecorder: Worker = ({ keyring }) => ({
  [topicOf(system, 'internal')]: {
    source: sourceOf(system),
    consumers: [
      {
        name: 'device-login-recorder',
        order: 'convergent',
        types: [events.loggedIn.type],
        async handle(em, event) {
          const login = await readLogin(keyring, em, event);
          if (!login) return;
          const { eventId, aggregateId: memberId, time } = event;
          await recordDeviceLogin(em, { ...login, eventId, memberId, at: new Date(time) });
        },
      },
    ],
  },
});
