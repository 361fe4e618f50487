import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import type { Keyring } from '#eventing/keyring';
import type { LostFact } from '#eventing/restore';
import { FamilyAccount } from '../domain/family-account.ts';
import { Invitation } from '../domain/invitation.ts';
import { END_REASONS, type EndReason, Membership } from '../domain/membership.ts';
import { events } from '../events.ts';
import { findMembers, lockFamilyAccount } from './lock-family-account.ts';

/**
 * Does again to its account what a fact says that happened after the moment that the database was restored to. What a fact never says stays
 * lost: the codes of invitations. In `em`'s transaction.
 * @param isOver whether the account's last fact is among those that were lost
 */
export async function recallFact(
  em: EntityManager,
  keyring: Keyring,
  fact: LostFact,
  isOver: boolean,
  at = new Date(),
): Promise<void> {
  const account = await em.findOne(FamilyAccount, fact.aggregateId);
  if (account?.status === 'OPEN') return apply(em, keyring, account, fact);
  if (account) return;
  em.persist(FamilyAccount.lost(fact.aggregateId, { isStated: isOver }, at));
  if (isOver) await keyring.keepDestroyed(em, [fact.aggregateId]);
}

/** Closes an account whose closing was lost and something else stated in its place: all who belong to it leave. In `em`'s transaction. */
export async function closeLostAccount(em: EntityManager, id: string, at = new Date()): Promise<void> {
  const { account, members } = await lockFamilyAccount(em, id);
  for (const membership of members) {
    const left = members.filter((it) => it.endedAt == null);
    account.endMembership(left, membership, 'LEFT', at);
  }
}

async function apply(em: EntityManager, keyring: Keyring, account: FamilyAccount, fact: LostFact): Promise<void> {
  const at = new Date(fact.time);
  const values = await keyring.reveal(em, fact, fact.data.attributes);
  switch (fact.type) {
    case events.memberJoined.type:
      return join(em, account, events.memberJoined.attributes.parse(values), at);
    case events.memberWithdrawn.type: {
      const { memberId } = events.memberWithdrawn.attributes.parse(values);
      const membership = (await findMembers(em, account.id)).find((it) => it.memberId === memberId);
      membership?.end(await reasonOf(em, keyring, fact), at);
      return;
    }
    case events.ownerChanged.type: {
      const { ownerId } = events.ownerChanged.attributes.parse(values);
      if ((await findMembers(em, account.id)).some((it) => it.memberId === ownerId)) account.recall({ ownerId }, at);
      return;
    }
    case events.closed.type:
      account.recall('closed', at);
      await em.flush();
      return keyring.destroy(em, [account.id]);
  }
}

async function join(
  em: EntityManager,
  { id: familyAccountId }: FamilyAccount,
  { memberId, invitationId }: { memberId: string; invitationId?: string | undefined },
  joinedAt: Date,
): Promise<void> {
  // Belongs to an account still whose fact about that is gone for good: that one stands.
  if (await em.findOne(Membership, { memberId, endedAt: null })) return;
  const members = await findMembers(em, familyAccountId);
  const position = 1 + Math.max(0, ...members.map((it) => it.position));
  em.persist(Membership.begin({ id: uuid(), familyAccountId, memberId, position, joinedAt }));
  const invitation = invitationId && (await em.findOne(Invitation, { id: invitationId, acceptedBy: null }));
  if (invitation) invitation.use(memberId, joinedAt);
}

async function reasonOf(em: EntityManager, keyring: Keyring, fact: LostFact): Promise<EndReason> {
  const { reason } = fact.data;
  const said = reason === undefined ? undefined : (await keyring.reveal(em, fact, { '#reason': reason }))['#reason'];
  return END_REASONS.find((it) => it === said) ?? 'LEFT';
}
