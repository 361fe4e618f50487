import type { System } from '#eventing/cloud-event';

/** The family-account system, as events name it. */
export const system: System = { name: 'family-account', identifier: 'familyAccountId' };
