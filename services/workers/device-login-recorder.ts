import { sourceOf, topicOf } from '#eventing/cloud-event';
import { events, recordDeviceLogin, system } from '#member';
import { readLogIn } from './log-in-fact.ts';
import type { Worker } from './worker.ts';

/** Writes each log-in into the log that members see. */
export const deviceLoginRecorder: Worker = ({ keyring }) => ({
  [topicOf(system, 'internal')]: {
    source: sourceOf(system),
    consumers: [
      {
        name: 'device-login-recorder',
        order: 'convergent',
        types: [events.loggedIn.type],
        async handle(em, event) {
          const login = await readLogIn(keyring, em, event);
          if (!login) return;
          const { eventId, aggregateId: memberId, time } = event;
          await recordDeviceLogin(em, { ...login, eventId, memberId, at: new Date(time) });
        },
      },
    ],
  },
});
