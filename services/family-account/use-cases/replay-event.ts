import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import type { Keyring } from '#eventing/keyring';
import type { StoredEvent } from '#eventing/restore';
import { FamilyAccount } from '../domain/family-account.ts';
import { Invitation } from '../domain/invitation.ts';
import { END_REASONS, type EndReason, Membership } from '../domain/membership.ts';
import { events } from '../events.ts';
import { findMembers, lockFamilyAccount } from './lock-family-account.ts';

/**
 * Applies an event, recorded after the time that the database was restored to, to its account again. Invitation codes stay lost: no event
 * holds them. Runs in `em`'s transaction.
 * @param isOver whether the account's last event is among the lost ones
 */
export async function replayEvent(
  em: EntityManager,
  keyring: Keyring,
  event: StoredEvent,
  isOver: boolean,
  at = new Date(),
): Promise<void> {
  const account = await em.findOne(FamilyAccount, event.aggregateId);
  if (account?.status === 'OPEN') return apply(em, keyring, account, event);
  if (account) return;
  em.persist(FamilyAccount.lost(event.aggregateId, { isRecorded: isOver }, at));
  if (isOver) await keyring.markDestroyed(em, [event.aggregateId]);
}

/**
 * Closes an account whose `closed` event is lost for good, or cannot be applied again: all its members leave. Runs in `em`'s transaction.
 */
export async function closeLostAccount(em: EntityManager, id: string, at = new Date()): Promise<void> {
  const { account, members } = await lockFamilyAccount(em, id);
  for (const membership of members) {
    const current = members.filter((it) => it.endedAt == null);
    account.endMembership(current, membership, 'LEFT', at);
  }
}

async function apply(em: EntityManager, keyring: Keyring, account: FamilyAccount, event: StoredEvent): Promise<void> {
  const at = new Date(event.time);
  const values = await keyring.reveal(em, event, event.data.attributes);
  switch (event.type) {
    case events.memberJoined.type:
      return join(em, account, events.memberJoined.attributes.parse(values), at);
    case events.memberWithdrawn.type: {
      const { memberId } = events.memberWithdrawn.attributes.parse(values);
      const membership = (await findMembers(em, account.id)).find((it) => it.memberId === memberId);
      membership?.end(await reasonOf(em, keyring, event), at);
      return;
    }
    case events.ownerChanged.type: {
      const { ownerId } = events.ownerChanged.attributes.parse(values);
      if ((await findMembers(em, account.id)).some((it) => it.memberId === ownerId)) account.replay({ ownerId }, at);
      return;
    }
    case events.closed.type:
      account.replay('closed', at);
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
  // The member still belongs to an account, because the event that ended that membership is lost for good: keep that membership.
  if (await em.findOne(Membership, { memberId, endedAt: null })) return;
  const members = await findMembers(em, familyAccountId);
  const position = 1 + Math.max(0, ...members.map((it) => it.position));
  em.persist(Membership.begin({ id: uuid(), familyAccountId, memberId, position, joinedAt }));
  const invitation = invitationId && (await em.findOne(Invitation, { id: invitationId, acceptedBy: null }));
  if (invitation) invitation.use(memberId, joinedAt);
}

async function reasonOf(em: EntityManager, keyring: Keyring, event: StoredEvent): Promise<EndReason> {
  const { reason: encrypted } = event.data;
  if (encrypted === undefined) return 'LEFT';
  const { '#reason': reason } = await keyring.reveal(em, event, { '#reason': encrypted });
  return END_REASONS.find((it) => it === reason) ?? 'LEFT';
}
