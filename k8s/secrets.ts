import { randomBytes } from 'node:crypto';
import { databaseRoles } from '../services/databases/create-database.ts';

const token = (): string => randomBytes(32).toString('base64url');
const masterKey = (): string => randomBytes(32).toString('base64');

/** What the Secrets of a development cluster hold, by name and key: new at each call. */
export function developmentSecrets(): Record<string, Record<string, string>> {
  const [superuser, broker, reader] = [token(), token(), token()];
  return {
    postgres: { superuser, url: `postgres://postgres:${superuser}@postgres:5432/postgres` },
    broker: { token: broker, url: `nats://${broker}@nats:4222` },
    'dapr-api-token': { token: token() },
    'app-api-token': { token: token() },
    'member-database': databaseUrls('member'),
    'family-account-database': databaseUrls('family_account'),
    member: {
      'master-key': masterKey(),
      'operator-token': token(),
      'reader-tokens': `family-account=${reader}`,
      'identity-provider-secret': token(),
    },
    'family-account': { 'master-key': masterKey(), 'operator-token': token(), 'member-reader-token': reader },
  };
}

function databaseUrls(system: string): Record<string, string> {
  const url = (role: string) => `postgres://${system}_${role}:${token()}@postgres:5432/${system}`;
  return Object.fromEntries(databaseRoles.map((role) => [role, url(role)]));
}
