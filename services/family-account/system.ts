import type { System } from '#eventing/cloud-event';

/** Name of the family-account system, and its identifier field, in events and topics. */
export const system: System = { name: 'family-account', identifier: 'familyAccountId' };
