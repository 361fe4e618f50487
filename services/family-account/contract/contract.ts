import type { Contract } from '#eventing/contract';
import { system } from '../system.ts';
import { externalFamilyAccountEvent, familyAccountEventTypes } from './external-event.ts';

/** The contract of the family-account system's external events. */
export const contract: Contract = {
  system,
  title: 'External events of the family-account system',
  data: externalFamilyAccountEvent,
  eventTypes: familyAccountEventTypes,
};
