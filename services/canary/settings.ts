import { common, integer, type Settings, url } from '#service/config';

/** The environment of the command that sends canaries. */
export const settings = {
  API_URL: {
    schema: url('http', 'https'),
    doc: 'the API that is asked: of the system itself, or of one that hears it',
  },
  OPERATOR_TOKEN: common.OPERATOR_TOKEN,
  TIMEOUT_SECONDS: {
    schema: integer({ min: 1, max: 600 }),
    doc: 'how long a canary may take from hop to hop',
    default: '30',
  },
} as const satisfies Settings;
