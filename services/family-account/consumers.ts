import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/inbox';
import { ERASED, type Keyring } from '#eventing/keyring';
import { broadcaster } from '#eventing/outbox';
import { externalMemberEvent, type MemberEventType } from '#member/contract';
import { events } from './events.ts';
import type { MemberSystem } from './member-system.ts';
import { system } from './system.ts';
import {
  askAboutMember,
  endMembershipWhenNotVerified,
  type Finding,
} from './use-cases/end-membership-when-not-verified.ts';

export interface Neighbourhood {
  readonly orm: MikroORM;
  readonly keyring: Keyring;
  readonly member: MemberSystem;
}

/** Says to other systems, in the closed form of the contract, what happens to family accounts. */
export const externalBroadcaster: Consumer = broadcaster(system, 'external-broadcaster');

/** After these a member may be verified no more. */
const DOUBTFUL: readonly MemberEventType[] = [
  'member.identity-verification-released',
  'member.withdrawn',
  'member.restored',
];
const MEMBERSHIP = { name: 'membership', order: 'ordered', types: DOUBTFUL } as const;

/** So that it can be seen that a canary of the member system has come as far as here. */
export const canary: Consumer = {
  name: 'canary',
  order: 'convergent',
  types: ['member.canary-sent' satisfies MemberEventType],
  handle: async () => undefined,
};

/** They have to say where they start; operators who discard a delivery of theirs let the next one go. */
export const orderedConsumers = [externalBroadcaster, MEMBERSHIP];

/**
 * The reaction to what happens to members: the event only says when to look, the newest state says what to do. So it does not matter how
 * old the event is or how often it comes.
 */
export function membership({ orm, member }: Neighbourhood): Consumer<Finding | undefined> {
  return {
    ...MEMBERSHIP,
    read: (event) => askAboutMember(orm.em.fork(), member, externalMemberEvent.parse(event.data).memberId),
    handle,
  };
}

/**
 * Asks about each member once more when it has joined. A verification can be released between the question and the commit of joining:
 * that event then found no membership here to end.
 */
export function joinedCheck({ orm, keyring, member }: Neighbourhood): Consumer<Finding | undefined> {
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

/** Who has joined; undefined when the account has been closed since, and with it all that is known of it. */
async function readMemberJoined(
  keyring: Keyring,
  em: EntityManager,
  event: ReceivedEvent,
): Promise<string | undefined> {
  const values = await keyring.reveal(em, event, event.data.attributes);
  return values.memberId === ERASED ? undefined : events.memberJoined.attributes.parse(values).memberId;
}
