import { common, type Settings } from '#service/config';

const { DATABASE_URL, MASTER_KEY, LOG_LEVEL } = common;

/** The environment of the command that wraps all keys with the first master key: that of the API, or a worker. */
export const settings = { DATABASE_URL, MASTER_KEY, LOG_LEVEL } as const satisfies Settings;
