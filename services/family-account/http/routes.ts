import type { Keyring } from '#eventing/keyring';
import type { Route } from '#service/http';
import { operatorRoutes } from '#service/operator-routes';
import { topicRoutes } from '#service/topic-routes';
import { orderedConsumers } from '../consumers.ts';
import type { MemberSystem } from '../member-system.ts';
import { system } from '../system.ts';
import { familyAccountRoutes } from './family-account-routes.ts';
import { invitationRoutes } from './invitation-routes.ts';

export interface Neighbours {
  readonly member: MemberSystem;
  readonly keyring: Keyring;
}

/** Everything that the family-account API can do. */
export function routes({ member, keyring }: Neighbours): Route[] {
  return [
    ...familyAccountRoutes(member),
    ...invitationRoutes(member),
    ...operatorRoutes(keyring, orderedConsumers),
    ...topicRoutes(system),
  ];
}
