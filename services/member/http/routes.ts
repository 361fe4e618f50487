import { ownCanaries } from '#eventing/canary';
import type { Keyring } from '#eventing/keyring';
import { canaryRoutes } from '#eventing-host/canary-routes';
import { operatorRoutes } from '#eventing-host/operator-routes';
import { topicRoutes } from '#eventing-host/topic-routes';
import { type Route, route } from '#http/http';
import { consumers, externalBroadcaster } from '../consumers.ts';
import { events } from '../events.ts';
import type { HashIdentity } from '../identity-hash.ts';
import type { IdentityProvider } from '../identity-provider.ts';
import type { LoginThrottle } from '../login-throttle.ts';
import { system } from '../system.ts';
import { identityVerificationEndpoints } from './identity-verification-endpoints.ts';
import { memberEndpoints } from './member-endpoints.ts';
import { sessionEndpoints } from './session-endpoints.ts';

export interface Dependencies {
  readonly provider: IdentityProvider;
  readonly hashIdentity: HashIdentity;
  readonly keyring: Keyring;
  readonly limits: LoginThrottle;
}

/** Returns all routes of the member API. */
export function routes({ provider, hashIdentity, keyring, limits }: Dependencies): Route[] {
  const members = memberEndpoints(limits);
  const verifications = identityVerificationEndpoints({ provider, hashIdentity });
  const sessions = sessionEndpoints(limits);
  return [
    route('POST', '/v1/members', members.register),
    route('GET', '/v1/members/:id', members.read),
    route('PATCH', '/v1/members/:id', members.changeProfile),
    route('DELETE', '/v1/members/:id', members.withdraw),
    route('PUT', '/v1/members/:id/password', members.changePassword),
    route('GET', '/v1/members/:id/login-records', members.listLoginRecords),
    route('PUT', '/v1/members/:id/identity-verification', verifications.verify),
    route('DELETE', '/v1/members/:id/identity-verification', verifications.release),
    route('POST', '/v1/sessions', sessions.logIn),
    route('GET', '/v1/sessions', sessions.list),
    route('GET', '/v1/sessions/current', sessions.readCurrent),
    route('DELETE', '/v1/sessions/current', sessions.logOut),
    route('DELETE', '/v1/sessions/:number', sessions.logOutAnother),
    ...operatorRoutes({ keyring, system, consumers, broadcaster: externalBroadcaster }),
    ...topicRoutes(system),
    ...canaryRoutes({
      [system.name]: ownCanaries({ system, keyring, broadcaster: externalBroadcaster }, events.canarySent),
    }),
  ];
}
