import { ownCanaries } from '#eventing/canary';
import type { Keyring } from '#eventing/keyring';
import { canaryRoutes } from '#service/canary-routes';
import type { Route } from '#service/http';
import { operatorRoutes } from '#service/operator-routes';
import { topicRoutes } from '#service/topic-routes';
import { consumers, externalBroadcaster } from '../consumers.ts';
import { events } from '../events.ts';
import type { HashIdentity } from '../identities.ts';
import type { IdentityProvider } from '../identity-provider.ts';
import type { LogInLimits } from '../log-in-limits.ts';
import { system } from '../system.ts';
import { identityVerificationRoutes } from './identity-verification-routes.ts';
import { memberRoutes } from './member-routes.ts';
import { sessionRoutes } from './session-routes.ts';

export interface Neighbours {
  readonly provider: IdentityProvider;
  readonly hashIdentity: HashIdentity;
  readonly keyring: Keyring;
  readonly limits: LogInLimits;
}

/** Everything that the member API can do. */
export function routes({ provider, hashIdentity, keyring, limits }: Neighbours): Route[] {
  return [
    ...memberRoutes(limits),
    ...identityVerificationRoutes({ provider, hashIdentity }),
    ...sessionRoutes(limits),
    ...operatorRoutes(keyring, consumers),
    ...topicRoutes(system),
    ...canaryRoutes({
      [system.name]: ownCanaries({ system, keyring, broadcaster: externalBroadcaster }, events.canarySent),
    }),
  ];
}
