import { common } from '#process/common-settings';
import type { Settings } from '#process/config';

const { DATABASE_URL, MASTER_KEY, LOG_LEVEL } = common;

/** Environment of the command that rewraps all keys, a subset of the API's and the workers'. */
export const settings = { DATABASE_URL, MASTER_KEY, LOG_LEVEL } as const satisfies Settings;
