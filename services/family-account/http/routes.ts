import type { Keyring } from '#eventing/keyring';
import type { Route } from '#service/http';
import { operatorRoutes } from '#service/operator-routes';
import type { Members } from '../members.ts';
import { familyAccountRoutes } from './family-account-routes.ts';
import { invitationRoutes } from './invitation-routes.ts';

/** Everything that the family-account API can do. */
export function routes({ members, keyring, consumers }: Neighbours): Route[] {
  return [...familyAccountRoutes(members), ...invitationRoutes(members), ...operatorRoutes(keyring, consumers)];
}

export interface Neighbours {
  readonly members: Members;
  readonly keyring: Keyring;
  /** Those of this database. */
  readonly consumers: Parameters<typeof operatorRoutes>[1];
}
