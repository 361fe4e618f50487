import type { Consumer } from '#eventing/inbox';
import { broadcaster } from '#eventing/outbox';
import { system } from './system.ts';

/** Says to other systems, in the closed form of the contract, what members do. */
export const externalBroadcaster: Consumer = broadcaster(system, 'external-broadcaster');

/** The ordered consumers of this database: operators who discard a delivery of theirs let the next one go. */
export const consumers = [externalBroadcaster];
