import { common } from '#process/common-settings';
import { integer, type Settings } from '#process/config';

const { DATABASE_URL, LOG_LEVEL } = common;

/** Environment of the housekeeping command. */
export const settings = {
  DATABASE_URL,
  LOG_LEVEL,
  KEEP_PUBLISHED_DAYS: {
    schema: integer({ min: 1, max: 36_500 }),
    doc: 'days that confirmed messages, inboxes and discarded deliveries are kept, at least; a convergent consumer refuses older events. Events are never deleted',
    default: '90',
  },
} as const satisfies Settings;
