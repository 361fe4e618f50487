import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { broadcaster } from '#eventing/external-broadcaster';
import { ERASED, type Keyring } from '#eventing/keyring';
import { eraseAnswers } from '#http/idempotency-table';
import { externalMemberEvent, type MemberEventType } from '#member/contract';
import { events } from './events.ts';
import type { MemberSystem } from './member-system.ts';
import { system } from './system.ts';
import {
  askAboutMember,
  endMembershipWhenNotVerified,
  type Finding,
} from './use-cases/end-membership-when-not-verified.ts';

export interface Dependencies {
  readonly orm: MikroORM;
  readonly keyring: Keyring;
  readonly member: MemberSystem;
}

/** Enqueues an external event for each internal event of a family account. */
export const externalBroadcaster: Consumer = broadcaster(system, 'external-broadcaster');

/** Event types after which a member may no longer be verified. */
const STATUS_EVENTS: readonly MemberEventType[] = [
  'member.identity-verification-released',
  'member.withdrawn',
  'member.restored',
];
const MEMBERSHIP = { name: 'membership', order: 'ordered', types: STATUS_EVENTS } as const;

/** Records in the inbox that a canary of the member system has arrived here: the last hop that the canary check looks for. */
export const canary: Consumer = {
  name: 'canary',
  order: 'convergent',
  types: ['member.canary-sent' satisfies MemberEventType],
  handle: async () => undefined,
};

/** The ordered consumers: each needs a start position, and discarding a delivery lets the aggregate's next event follow. */
export const orderedConsumers = [externalBroadcaster, MEMBERSHIP];

/**
 * Ends the membership of members who are no longer verified. The event only triggers the check; the member's newest state decides. So the
 * age and the number of deliveries of an event do not matter.
 */
export function membership({ orm, member }: Dependencies): Consumer<Finding | undefined> {
  return {
    ...MEMBERSHIP,
    read: (event) => askAboutMember(orm.em.fork(), member, externalMemberEvent.parse(event.data).memberId),
    async handle(em, event, finding) {
      await handle(em, event, finding);
      const { eventType, memberId } = externalMemberEvent.parse(event.data);
      if (eventType === 'member.withdrawn') await eraseAnswers(em, memberId);
    },
  };
}

/**
 * Checks each member again after joining. A verification may be released between the first check and the commit: the consumer of that event
 * finds no membership to end.
 */
export function joinedCheck({ orm, keyring, member }: Dependencies): Consumer<Finding | undefined> {
  return {
    name: 'joined-check',
    order: 'convergent',
    types: [events.memberJoined.type],
    async read(event) {
      const em = orm.em.fork();
      const memberId = await readMemberJoined(keyring, em, event);
      return memberId === undefined ? undefined : askAboutMember(em, member, memberId);
    },
    handle,
  };
}

async function handle(em: EntityManager, _: ReceivedEvent, finding: Finding | undefined): Promise<void> {
  if (finding) await endMembershipWhenNotVerified(em, finding);
}

/** Returns the id of the member who joined; undefined when it is erased, because the account has closed since. */
async function readMemberJoined(
  keyring: Keyring,
  em: EntityManager,
  event: ReceivedEvent,
): Promise<string | undefined> {
  const values = await keyring.reveal(em, event, event.data.attributes);
  return values.memberId === ERASED ? undefined : events.memberJoined.attributes.parse(values).memberId;
}
