import type { System } from '#eventing/cloud-event';

/** Name of the member system, and its identifier field, in events and topics. */
export const system: System = { name: 'member', identifier: 'memberId' };
