import { common } from '#process/common-settings';
import { type Setting, type Settings, url } from '#process/config';

const { LOG_LEVEL } = common;
const connection = (doc: string): Setting<string> => ({ schema: url('postgres', 'postgresql'), doc, secret: true });

/** Environment of the command that creates a system's database and its roles. */
export const settings = {
  ADMIN_URL: connection('PostgreSQL URL of a role that may create roles and databases'),
  OWNER_URL: connection(
    'URL of the database to create, with its owner: `postgres://<system>_owner:password@host:port/<system>`; migrations run as this role',
  ),
  APP_URL: connection('the same as `<system>_app`, for the service and its workers'),
  RELAY_URL: connection('the same as `<system>_relay`'),
  HOUSEKEEPING_URL: connection('the same as `<system>_housekeeping`'),
  READONLY_URL: connection('the same as `<system>_readonly`, for operators'),
  LOG_LEVEL,
} as const satisfies Settings;
