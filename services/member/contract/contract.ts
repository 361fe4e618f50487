import type { Contract } from '#eventing/contract';
import { system } from '../system.ts';
import { externalMemberEvent, memberEventTypes } from './external-event.ts';

/** The contract of the member system's external events. */
export const contract: Contract = {
  system,
  title: 'External events of the member system',
  data: externalMemberEvent,
  eventTypes: memberEventTypes,
};
