import type { Contract } from '#eventing/contract';
import { system } from '../system.ts';
import { externalFamilyAccountEvent, familyAccountEventTypes } from './external-event.ts';

/** What the family-account system says to other systems. */
export const contract: Contract = {
  system,
  title: 'External events of the family-account system',
  data: externalFamilyAccountEvent,
  eventTypes: familyAccountEventTypes,
};
