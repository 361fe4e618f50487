import { type Canaries, ownCanaries, receivedHere } from '#eventing/canary';
import type { Keyring } from '#eventing/keyring';
import { canaryRoutes } from '#eventing-host/canary-routes';
import { operatorRoutes } from '#eventing-host/operator-routes';
import { topicRoutes } from '#eventing-host/topic-routes';
import { type Route, route } from '#http/http';
import { MEMBER_EXTERNAL_TOPIC } from '#member/contract';
import { canary, externalBroadcaster, orderedConsumers } from '../consumers.ts';
import { events } from '../events.ts';
import type { MemberSystem } from '../member-system.ts';
import { system } from '../system.ts';
import { familyAccountEndpoints } from './family-account-endpoints.ts';
import { invitationEndpoints } from './invitation-endpoints.ts';

export interface Dependencies {
  readonly member: MemberSystem;
  readonly keyring: Keyring;
}

/** Returns all routes of the family-account API. */
export function routes({ member, keyring }: Dependencies): Route[] {
  const accounts = familyAccountEndpoints(member);
  const invitations = invitationEndpoints(member);
  return [
    route('POST', '/v1/family-accounts', accounts.open),
    route('GET', '/v1/family-accounts', accounts.list),
    route('GET', '/v1/family-accounts/:id', accounts.read),
    route('PUT', '/v1/family-accounts/:id/owner', accounts.transferOwnership),
    route('DELETE', '/v1/family-accounts/:id/members/:memberId', accounts.endMembership),
    route('POST', '/v1/family-accounts/:id/invitations', invitations.invite),
    route('POST', '/v1/invitations/:code/acceptance', invitations.accept),
    ...operatorRoutes({ keyring, system, consumers: orderedConsumers, broadcaster: externalBroadcaster }),
    ...topicRoutes(system),
    ...canaryRoutes({
      [system.name]: ownCanaries({ system, keyring, broadcaster: externalBroadcaster }, events.canarySent),
      member: memberCanaries(member, keyring),
    }),
  ];
}

/** Returns canaries that the member system sends and this system receives: all their hops up to here. */
function memberCanaries(member: MemberSystem, keyring: Keyring): Canaries {
  const here = { keyring, consumer: canary.name, topic: MEMBER_EXTERNAL_TOPIC };
  return {
    send: () => member.sendCanary(),
    async follow(em, eventId) {
      const hops = await member.followCanary(eventId);
      return hops && [...hops, await receivedHere(em, { ...here, eventId }, system.name)];
    },
  };
}
