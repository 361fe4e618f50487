import { v7 as uuid } from 'uuid';
import { raisedBy } from '#eventing/domain-event';
import {
  FamilyAccount,
  MOST_MEMBERS,
  MOST_OPEN_INVITATIONS,
} from '../../../../services/family-account/domain/family-account.ts';
import { type Invitation, VALID_FOR_MS } from '../../../../services/family-account/domain/invitation.ts';
import type { Membership } from '../../../../services/family-account/domain/membership.ts';

const at = new Date('2026-07-01T09:00:00Z');
const [anna, ben, cho, dal, eun, fay] = Array.from({ length: 6 }, () => uuid()) as [
  string,
  string,
  string,
  string,
  string,
  string,
];

/** An account with its memberships that have not ended, as a use case holds them. */
class Family {
  readonly account: FamilyAccount;
  members: Membership[];

  constructor(owner = anna, ...others: string[]) {
    const ids = { id: uuid(), membershipId: uuid(), ownerId: owner };
    const { account, membership } = FamilyAccount.open({ ...ids, name: 'Home' }, at);
    this.account = account;
    this.members = [membership];
    for (const other of others) this.join(other);
  }
  invite(open = 0, when = at): Invitation {
    return this.account.invite(this.members, open, { id: uuid(), codeHash: uuid() }, when);
  }
  join(memberId: string, invitation = this.invite(), when = at): Membership | undefined {
    const joined = this.account.accept(this.members, invitation, { id: uuid(), memberId }, when);
    if (joined) this.members.push(joined);
    return joined;
  }
  leave(memberId: string): void {
    const membership = this.members.find((it) => it.memberId === memberId)!;
    this.account.endMembership(this.members, membership, 'LEFT', at);
    this.members = this.members.filter((it) => it !== membership);
  }
  /** The types of what it has said after its first `from` facts. */
  said(from = 0): string[] {
    return raisedBy(this.account)
      .slice(from)
      .map(({ type }) => type.replace('family-account.', ''));
  }
  get saidSoFar(): number {
    return raisedBy(this.account).length;
  }
}

describe('Opening', () => {
  test('makes an open account whose founder owns it, and states both', () => {
    const { account, members } = new Family();
    expect(account).toMatchObject({ status: 'OPEN', name: 'Home', ownerId: anna, openedAt: at });
    expect(members).toMatchObject([{ memberId: anna, familyAccountId: account.id, position: 1, joinedAt: at }]);
    expect(raisedBy(account)).toMatchObject([
      {
        type: 'family-account.opened',
        aggregateId: account.id,
        attributes: { name: 'Home', ownerId: anna, status: 'OPEN' },
      },
      { type: 'family-account.member-joined', attributes: { memberId: anna, joinedAt: at.toISOString() } },
    ]);
  });
});

describe('Inviting', () => {
  test('states the invitation without its code, which is good for seven days', () => {
    const family = new Family();
    const invitation = family.invite();
    expect(invitation.expiresAt).toEqual(new Date('2026-07-08T09:00:00Z'));
    const fact = raisedBy(family.account).at(-1)!;
    expect(fact).toMatchObject({ type: 'family-account.invitation-issued', erases: false });
    expect(fact.attributes).toEqual({
      invitationId: invitation.id,
      invitationExpiresAt: invitation.expiresAt.toISOString(),
    });
    expect(JSON.stringify(fact)).not.toContain(invitation.codeHash);
  });

  test('is refused when no place is free', () => {
    const family = new Family(anna, ben, cho, dal, eun);
    expect(() => family.invite()).toThrow(expect.objectContaining({ slug: 'family-account-full', kind: 'conflict' }));
  });

  test('is refused while too many invitations can still be used', () => {
    const family = new Family();
    const before = family.saidSoFar;
    expect(() => family.invite(MOST_OPEN_INVITATIONS)).toThrow(
      expect.objectContaining({ slug: 'too-many-invitations' }),
    );
    expect(family.said(before)).toEqual([]);
    expect(family.invite(MOST_OPEN_INVITATIONS - 1)).toBeDefined();
  });
});

describe('Accepting an invitation', () => {
  test('makes a member, uses the invitation up and states both in one fact', () => {
    const family = new Family();
    const invitation = family.invite();
    expect(family.join(ben, invitation)).toMatchObject({ memberId: ben, position: 2 });
    expect(invitation).toMatchObject({ acceptedBy: ben, acceptedAt: at });
    expect(raisedBy(family.account).at(-1)).toMatchObject({
      type: 'family-account.member-joined',
      attributes: { memberId: ben, joinedAt: at.toISOString(), invitationId: invitation.id },
    });
  });

  test('again by the same member changes nothing and states nothing', () => {
    const family = new Family();
    const invitation = family.invite();
    family.join(ben, invitation);
    const before = family.saidSoFar;
    expect(family.join(ben, invitation)).toBeUndefined();
    expect(family.said(before)).toEqual([]);
  });

  test('works once: neither for somebody else nor for a member who has left since', () => {
    const family = new Family();
    const invitation = family.invite();
    family.join(ben, invitation);
    const used = expect.objectContaining({ slug: 'invitation-used', kind: 'gone' });
    expect(() => family.join(cho, invitation)).toThrow(used);
    family.leave(ben);
    expect(() => family.join(ben, invitation)).toThrow(used);
  });

  test('is refused from the moment it expires', () => {
    const family = new Family();
    const invitation = family.invite();
    const expiry = at.getTime() + VALID_FOR_MS;
    expect(() => family.join(ben, invitation, new Date(expiry))).toThrow(
      expect.objectContaining({ slug: 'invitation-expired', kind: 'gone' }),
    );
    expect(family.join(ben, invitation, new Date(expiry - 1))).toBeDefined();
  });

  test('is refused to a member of the account, whose invitation stays good for others', () => {
    const family = new Family(anna, ben);
    const invitation = family.invite();
    expect(() => family.join(ben, invitation)).toThrow(
      expect.objectContaining({ slug: 'already-in-family-account', kind: 'conflict' }),
    );
    expect(family.join(cho, invitation)).toBeDefined();
  });

  test('makes five members and no sixth', () => {
    const family = new Family(anna, ben, cho, dal);
    const [fifth, sixth] = [family.invite(), family.invite()];
    family.join(eun, fifth);
    expect(family.members).toHaveLength(MOST_MEMBERS);
    expect(() => family.join(fay, sixth)).toThrow(expect.objectContaining({ slug: 'family-account-full' }));
    expect(sixth.acceptedBy).toBeUndefined();
    family.leave(ben);
    expect(family.join(fay, sixth)).toMatchObject({ position: 6 });
  });
});

describe('The end of a membership', () => {
  test('is stated with its reason', () => {
    const family = new Family(anna, ben);
    const [, bens] = family.members;
    family.account.endMembership(family.members, bens!, 'IDENTITY_NOT_VERIFIED', at);
    expect(bens).toMatchObject({ endedAt: at, endReason: 'IDENTITY_NOT_VERIFIED' });
    expect(raisedBy(family.account).at(-1)).toMatchObject({
      type: 'family-account.member-withdrawn',
      attributes: { memberId: ben },
      reason: 'IDENTITY_NOT_VERIFIED',
    });
    expect(family.account).toMatchObject({ status: 'OPEN', ownerId: anna });
  });

  test('of the owner’s hands the account over to the longest-standing member', () => {
    const family = new Family(anna, ben, cho);
    family.leave(ben);
    family.join(ben);
    const before = family.saidSoFar;
    family.leave(anna);
    expect(family.account.ownerId).toBe(cho);
    expect(family.said(before)).toEqual(['member-withdrawn', 'owner-changed']);
    family.leave(cho);
    expect(family.account.ownerId).toBe(ben);
  });

  test('of the last one closes the account, which forgets its name and states nothing after that', () => {
    const family = new Family(anna, ben);
    const invitation = family.invite();
    family.leave(anna);
    const before = family.saidSoFar;
    family.leave(ben);
    expect(family.account).toMatchObject({ status: 'CLOSED', closedAt: at, name: null, ownerId: null });
    expect(family.said(before)).toEqual(['member-withdrawn', 'closed']);
    expect(raisedBy(family.account).at(-1)).toMatchObject({ erases: true });
    const closed = expect.objectContaining({ slug: 'family-account-closed', kind: 'gone' });
    expect(() => family.join(cho, invitation)).toThrow(closed);
    expect(() => family.invite()).toThrow(closed);
    expect(family.said(before)).toEqual(['member-withdrawn', 'closed']);
  });

  test('that has ended before changes nothing and states nothing', () => {
    const family = new Family(anna, ben);
    const [, bens] = family.members;
    family.leave(ben);
    const before = family.saidSoFar;
    family.account.endMembership(family.members, bens!, 'MEMBER_WITHDRAWN', new Date());
    expect(bens).toMatchObject({ endedAt: at, endReason: 'LEFT' });
    expect(family.said(before)).toEqual([]);
  });
});

describe('Transferring ownership', () => {
  test('to another member is stated', () => {
    const family = new Family(anna, ben);
    family.account.transferOwnership(family.members, ben);
    expect(family.account.ownerId).toBe(ben);
    expect(raisedBy(family.account).at(-1)).toMatchObject({
      type: 'family-account.owner-changed',
      attributes: { ownerId: ben },
    });
    expect(() => family.account.mustBeOwnedBy(anna)).toThrow(
      expect.objectContaining({ slug: 'owner-only', kind: 'forbidden' }),
    );
  });

  test('to its owner changes nothing and states nothing', () => {
    const family = new Family(anna, ben);
    const before = family.saidSoFar;
    family.account.transferOwnership(family.members, anna);
    expect(family.said(before)).toEqual([]);
  });

  test('to somebody else is refused', () => {
    const family = new Family(anna, ben);
    expect(() => family.account.transferOwnership(family.members, cho)).toThrow(
      expect.objectContaining({ slug: 'not-a-member' }),
    );
    expect(family.account.ownerId).toBe(anna);
  });
});
