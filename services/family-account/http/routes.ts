import { type Canaries, heardHere, ownCanaries } from '#eventing/canary';
import type { Keyring } from '#eventing/keyring';
import { MEMBER_EXTERNAL_TOPIC } from '#member/contract';
import { canaryRoutes } from '#service/canary-routes';
import type { Route } from '#service/http';
import { operatorRoutes } from '#service/operator-routes';
import { topicRoutes } from '#service/topic-routes';
import { canary, externalBroadcaster, orderedConsumers } from '../consumers.ts';
import { events } from '../events.ts';
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
    ...canaryRoutes({
      [system.name]: ownCanaries({ system, keyring, broadcaster: externalBroadcaster }, events.canarySent),
      member: canariesOf(member, keyring),
    }),
  ];
}

/** The member system's, as far as here. */
function canariesOf(member: MemberSystem, keyring: Keyring): Canaries {
  const here = { keyring, consumer: canary.name, topic: MEMBER_EXTERNAL_TOPIC };
  return {
    send: () => member.sendCanary(),
    async follow(em, eventId) {
      const hops = await member.followCanary(eventId);
      return hops && [...hops, await heardHere(em, { ...here, eventId }, system.name)];
    },
  };
}
