import { defineEntity, p } from '@mikro-orm/core';
import { raise } from '#eventing/domain-event';
import { DomainError } from '#process/errors';
import { events } from '../events.ts';
import { Invitation } from './invitation.ts';
import { type EndReason, Membership } from './membership.ts';

const schema = defineEntity({
  name: 'FamilyAccount',
  tableName: 'family_account',
  properties: {
    id: p.uuid().primary(),
    status: p.enum(['OPEN', 'CLOSED']),
    // `name` and `ownerId` are null once the account is closed.
    name: p.string().nullable(),
    /** A column of the account, not a role in the memberships: so there cannot be two owners. */
    ownerId: p.uuid().nullable(),
    openedAt: p.datetime(),
    closedAt: p.datetime().nullable(),
    version: p.integer().version(),
  },
});

export const MOST_MEMBERS = 5;
/** Enough for a family that loses some e-mails; low enough that an account cannot be used to generate codes. */
export const MOST_OPEN_INVITATIONS = 10;

/**
 * A family account, with all its state changes. Each method raises an event, unless nothing changes.
 * It is also the aggregate root of its memberships and invitations. `members` are always all of its current memberships.
 */
export class FamilyAccount extends schema.class {
  /** Opens an account. @returns the account, and its owner's membership */
  static open(
    { id, membershipId, name, ownerId }: { id: string; membershipId: string; name: string; ownerId: string },
    at: Date,
  ): { account: FamilyAccount; membership: Membership } {
    const account = Object.assign(new FamilyAccount(), { id, status: 'OPEN', name, ownerId, openedAt: at } as const);
    raise(account, events.opened(id, { status: 'OPEN', name, ownerId }));
    return { account, membership: begin(account, [], { id: membershipId, memberId: ownerId }, at) };
  }

  /**
   * Recreates, as closed, an account known only from replayed events. Its encryption key is lost with the database, so its members are
   * unknown.
   * @param isRecorded whether its `closed` event exists already; otherwise it is raised
   */
  static lost(id: string, { isRecorded }: { isRecorded: boolean }, at: Date): FamilyAccount {
    const account = Object.assign(new FamilyAccount(), { id, openedAt: at } as const);
    if (isRecorded) account.replay('closed', at);
    else close(account, at);
    return account;
  }

  /** Applies a change from a replayed event. Raises no event, because that event exists already. */
  replay(change: 'closed' | { ownerId: string }, at: Date): void {
    if (change === 'closed') Object.assign(this, CLOSED, { closedAt: at });
    else Object.assign(this, change);
  }

  /**
   * Issues an invitation.
   * @param open number of invitations that are neither used nor expired
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
      const message = `${open} invitations are still open: wait until some are used or expire`;
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
   * Accepts an invitation for a member.
   * @returns the new membership; undefined when this member has joined with this invitation before (a repeat)
   * @throws DomainError `family-account-closed`, `invitation-used`, `invitation-expired`, `already-in-family-account`,
   *   `family-account-full`
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

  /** Ends a membership. An owner's account goes to the longest-standing other member; the account closes when none is left. */
  endMembership(members: readonly Membership[], membership: Membership, reason: EndReason, at: Date): void {
    if (!members.includes(membership)) return;
    membership.end(reason, at);
    raise(this, events.memberWithdrawn(this.id, { memberId: membership.memberId }, reason));
    const others = members.filter((other) => other !== membership).sort((a, b) => a.position - b.position);
    const [longestStanding] = others;
    if (!longestStanding) close(this, at);
    else if (this.ownerId === membership.memberId) this.transferOwnership(others, longestStanding.memberId);
  }

  /** Makes another member the owner. @throws DomainError `not-a-member` */
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

/** Returns the error for a member who already belongs to an open family account: one is the limit. */
export function alreadyInFamilyAccount(cause?: unknown): DomainError {
  const message = 'This member already belongs to a family account';
  return new DomainError('already-in-family-account', message, 'conflict', { cause });
}

// Functions instead of `#private` methods: the ORM creates loaded entities without the constructor, so they would lack them.

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
  throw new DomainError('family-account-full', `A family account has at most ${MOST_MEMBERS} members`, 'conflict');
}
