import type { Consumer } from '#eventing/consumer';
import { broadcaster } from '#eventing/external-broadcaster';
import { system } from './system.ts';

/** Enqueues an external event for each internal event of a member. */
export const externalBroadcaster: Consumer = broadcaster(system, 'external-broadcaster');

/** The ordered consumers of this database: discarding a delivery of theirs lets the aggregate's next event follow. */
export const consumers = [externalBroadcaster];
