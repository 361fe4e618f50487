import { common } from '#process/common-settings';
import { integer, type Settings, url } from '#process/config';

/** Environment of the command that sends canaries. */
export const settings = {
  API_URL: {
    schema: url('http', 'https'),
    doc: 'operations URL of the API: of the system itself, or of a system that subscribes to it',
  },
  OPERATOR_TOKEN: common.OPERATOR_TOKEN,
  TIMEOUT_SECONDS: {
    schema: integer({ min: 1, max: 600 }),
    doc: 'seconds that a canary may take from one hop to the next',
    default: '30',
  },
} as const satisfies Settings;
