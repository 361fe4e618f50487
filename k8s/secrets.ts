import { randomBytes } from 'node:crypto';
import { brokerUserNames, brokerUsers } from '../local/topology/broker.ts';
import { databaseRoles } from '../ops/create-database/create-database.ts';
import { accounts } from '../ops/jetstream/accounts.ts';

const token = (): string => randomBytes(32).toString('base64url');
const masterKey = (): string => randomBytes(32).toString('base64');

/** Generates the contents of a development cluster's Secrets, by name and key. */
export function developmentSecrets(): Record<string, Record<string, string>> {
  const [superuser, reader] = [token(), token()];
  return {
    postgres: { superuser, url: `postgres://postgres:${superuser}@postgres:5432/postgres` },
    ...brokerSecrets('nats:4222'),
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

/**
 * Generates the Secrets of the broker's users: `broker-<app>` and `broker-administrator` with their URLs, and
 * `nats-users` for the server. Passwords are new at each call, so always replace all of these Secrets together.
 * @param address the broker's `host:port`, several separated by commas
 * @returns the contents by Secret name and key
 */
export function brokerSecrets(address: string): Record<string, Record<string, string>> {
  const passwords = Object.fromEntries(brokerUserNames().map((name) => [name, token()]));
  const urlOf = (name: string) =>
    address
      .split(',')
      .map((host) => `nats://${name}:${passwords[name]}@${host}`)
      .join(',');
  const secrets = Object.keys(passwords).map((name) => [`broker-${name}`, { url: urlOf(name) }] as const);
  return { ...Object.fromEntries(secrets), 'nats-users': { 'users.conf': accounts(brokerUsers(passwords)) } };
}

/** Returns the manifest of a Secret. */
export const secretManifest = (name: string, stringData: Readonly<Record<string, string>>, namespace?: string) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, namespace },
  stringData,
});

function databaseUrls(system: string): Record<string, string> {
  const url = (role: string) => `postgres://${system}_${role}:${token()}@postgres:5432/${system}`;
  return Object.fromEntries(databaseRoles.map((role) => [role, url(role)]));
}
