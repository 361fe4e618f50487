import { defineEntity, p } from '@mikro-orm/core';
import { raise } from '#eventing/domain-event';
import { DomainError } from '#service/errors';
import { events } from '../events.ts';
import { Invitation } from './invitation.ts';
import { type EndReason, Membership } from './membership.ts';

const schema = defineEntity({
  name: 'FamilyAccount',
  tableName: 'family_account',
  properties: {
    id: p.uuid().primary(),
    status: p.enum(['OPEN', 'CLOSED']),
    // Null once the account is closed.
    name: p.string().nullable(),
    /** Here, and not as a role in the memberships, there cannot be two of them. */
    ownerId: p.uuid().nullable(),
    openedAt: p.datetime(),
    closedAt: p.datetime().nullable(),
    version: p.integer().version(),
  },
});

export const MOST_MEMBERS = 5;
/** Enough for a family whose mails get lost; an account must not be a source of codes. */
export const MOST_OPEN_INVITATIONS = 10;

/**
 * A family account and everything that can happen to it. Each method states its fact, and none when nothing changes.
 * It is the root of its memberships and invitations too. `members` always are its memberships that have not ended, all of them.
 */
export class FamilyAccount extends schema.class {
  /** @returns the account, and the membership of its owner */
  static open(
    { id, membershipId, name, ownerId }: { id: string; membershipId: string; name: string; ownerId: string },
    at: Date,
  ): { account: FamilyAccount; membership: Membership } {
    const account = Object.assign(new FamilyAccount(), { id, status: 'OPEN', name, ownerId, openedAt: at } as const);
    raise(account, events.opened(id, { status: 'OPEN', name, ownerId }));
    return { account, membership: begin(account, [], { id: membershipId, memberId: ownerId }, at) };
  }

  /**
   * One whose opening the database has lost, and with it the key of all that it said: nobody knows who belonged to it, so it is closed. That is
   * stated, unless it has been.
   */
  static lost(id: string, { isStated }: { isStated: boolean }, at: Date): FamilyAccount {
    const account = Object.assign(new FamilyAccount(), { id, openedAt: at } as const);
    if (isStated) account.recall('closed', at);
    else close(account, at);
    return account;
  }

  /** Is again what facts say that it has become before the database was restored: they are there, so it states none. */
  recall(change: 'closed' | { ownerId: string }, at: Date): void {
    if (change === 'closed') Object.assign(this, CLOSED, { closedAt: at });
    else Object.assign(this, change);
  }

  /**
   * @param open invitations that are neither used nor expired
   * @throws DomainError `family-account-full`, `too-many-invitations`
   */
  invite(
    members: readonly Membership[],
    open: number,
    { id, codeHash }: { id: string; codeHash: string },
    at: Date,
  ): Invitation {
    this.mustBeOpen();
    mustHavePlace(members);
    if (open >= MOST_OPEN_INVITATIONS) {
      const message = `There are ${open} invitations that can still be used; let some be used or expire`;
      throw new DomainError('too-many-invitations', message, 'conflict');
    }
    const invitation = Invitation.issue(id, { familyAccountId: this.id, codeHash }, at);
    raise(
      this,
      events.invitationIssued(this.id, {
        invitationId: id,
        invitationExpiresAt: invitation.expiresAt.toISOString(),
      }),
    );
    return invitation;
  }

  /**
   * @returns the new membership; undefined for a member who has joined with this invitation before, and asks again
   * @throws DomainError `family-account-closed`, `invitation-used`, `invitation-expired`, `already-in-family-account`, `family-account-full`
   */
  accept(
    members: readonly Membership[],
    invitation: Invitation,
    { id, memberId }: { id: string; memberId: string },
    at: Date,
  ): Membership | undefined {
    this.mustBeOpen();
    const isMember = members.some((membership) => membership.memberId === memberId);
    if (isMember && invitation.acceptedBy === memberId) return undefined;
    invitation.mustBeUsable(at);
    if (isMember) throw alreadyInFamilyAccount();
    mustHavePlace(members);
    invitation.use(memberId, at);
    return begin(this, members, { id, memberId, invitationId: invitation.id }, at);
  }

  /** Hands over an owner's account to the longest-standing of the others, and closes it when there is none. */
  endMembership(members: readonly Membership[], membership: Membership, reason: EndReason, at: Date): void {
    if (!members.includes(membership)) return;
    membership.end(reason, at);
    raise(this, events.memberWithdrawn(this.id, { memberId: membership.memberId }, reason));
    const others = members.filter((other) => other !== membership).sort((a, b) => a.position - b.position);
    const [longestStanding] = others;
    if (!longestStanding) close(this, at);
    else if (this.ownerId === membership.memberId) this.transferOwnership(others, longestStanding.memberId);
  }

  /** @throws DomainError `not-a-member` */
  transferOwnership(members: readonly Membership[], memberId: string): void {
    if (this.ownerId === memberId) return;
    if (!members.some((membership) => membership.memberId === memberId)) {
      throw new DomainError('not-a-member', 'Only a member of the family account can own it', 'unprocessable');
    }
    this.ownerId = memberId;
    raise(this, events.ownerChanged(this.id, { ownerId: memberId }));
  }

  /** @throws DomainError `owner-only` */
  mustBeOwnedBy(memberId: string): void {
    if (this.ownerId !== memberId) throw new DomainError('owner-only', 'Only the owner may do this', 'forbidden');
  }

  /** @throws DomainError `family-account-closed` */
  mustBeOpen(): void {
    if (this.status === 'CLOSED') {
      throw new DomainError('family-account-closed', 'This family account is closed', 'gone');
    }
  }
}
schema.setClass(FamilyAccount);

/** A member belongs to one open family account at most. */
export function alreadyInFamilyAccount(cause?: unknown): DomainError {
  const message = 'This member belongs to a family account already';
  return new DomainError('already-in-family-account', message, 'conflict', { cause });
}

// Not private methods: the ORM builds the entities it loads without the constructor that would give them one.

function begin(
  account: FamilyAccount,
  members: readonly Membership[],
  { id, memberId, invitationId }: { id: string; memberId: string; invitationId?: string },
  at: Date,
): Membership {
  const position = 1 + Math.max(0, ...members.map((membership) => membership.position));
  const joined = { memberId, joinedAt: at.toISOString(), ...(invitationId && { invitationId }) };
  raise(account, events.memberJoined(account.id, joined));
  return Membership.begin({ id, familyAccountId: account.id, memberId, position, joinedAt: at });
}

const CLOSED = { status: 'CLOSED', name: null, ownerId: null } as const;

function close(account: FamilyAccount, at: Date): void {
  Object.assign(account, CLOSED, { closedAt: at });
  raise(account, events.closed(account.id, { status: 'CLOSED' }));
}

function mustHavePlace(members: readonly Membership[]): void {
  if (members.length < MOST_MEMBERS) return;
  throw new DomainError('family-account-full', `A family account has ${MOST_MEMBERS} members at most`, 'conflict');
}
