import type { System } from '#eventing/cloud-event';

/** The member system, as events name it. */
export const system: System = { name: 'member', identifier: 'memberId' };
