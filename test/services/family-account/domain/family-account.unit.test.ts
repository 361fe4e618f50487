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

/** An account with its current memberships, as a use case loads them. */
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
  /** Returns the types of the events raised after the first `from` ones. */
  eventTypes(from = 0): string[] {
    return raisedBy(this.account)
      .slice(from)
      .map(({ type }) => type.replace('family-account.', ''));
  }
  get eventCount(): number {
    return raisedBy(this.account).length;
  }
}

describe('Opening', () => {
  test('creates an open account owned by its founder and raises both events', () => {
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
  test('raises an event without the code; the code is valid for seven days', () => {
    const family = new Family();
    const invitation = family.invite();
    expect(invitation.expiresAt).toEqual(new Date('2026-07-08T09:00:00Z'));
    const event = raisedBy(family.account).at(-1)!;
    expect(event).toMatchObject({ type: 'family-account.invitation-issued', erases: false });
    expect(event.attributes).toEqual({
      invitationId: invitation.id,
      invitationExpiresAt: invitation.expiresAt.toISOString(),
    });
    expect(JSON.stringify(event)).not.toContain(invitation.codeHash);
  });

  test('is rejected when the account is full', () => {
    const family = new Family(anna, ben, cho, dal, eun);
    expect(() => family.invite()).toThrow(expect.objectContaining({ slug: 'family-account-full', kind: 'conflict' }));
  });

  test('is rejected while too many invitations are open', () => {
    const family = new Family();
    const before = family.eventCount;
    expect(() => family.invite(MOST_OPEN_INVITATIONS)).toThrow(
      expect.objectContaining({ slug: 'too-many-invitations' }),
    );
    expect(family.eventTypes(before)).toEqual([]);
    expect(family.invite(MOST_OPEN_INVITATIONS - 1)).toBeDefined();
  });
});

describe('Accepting an invitation', () => {
  test('adds a member, consumes the invitation and raises one event for both', () => {
    const family = new Family();
    const invitation = family.invite();
    expect(family.join(ben, invitation)).toMatchObject({ memberId: ben, position: 2 });
    expect(invitation).toMatchObject({ acceptedBy: ben, acceptedAt: at });
    expect(raisedBy(family.account).at(-1)).toMatchObject({
      type: 'family-account.member-joined',
      attributes: { memberId: ben, joinedAt: at.toISOString(), invitationId: invitation.id },
    });
  });

  test('changes nothing and raises no event when the same member repeats it', () => {
    const family = new Family();
    const invitation = family.invite();
    family.join(ben, invitation);
    const before = family.eventCount;
    expect(family.join(ben, invitation)).toBeUndefined();
    expect(family.eventTypes(before)).toEqual([]);
  });

  test('works once: not for another person, nor for a member who has left since', () => {
    const family = new Family();
    const invitation = family.invite();
    family.join(ben, invitation);
    const used = expect.objectContaining({ slug: 'invitation-used', kind: 'gone' });
    expect(() => family.join(cho, invitation)).toThrow(used);
    family.leave(ben);
    expect(() => family.join(ben, invitation)).toThrow(used);
  });

  test('is rejected from the moment the invitation expires', () => {
    const family = new Family();
    const invitation = family.invite();
    const expiry = at.getTime() + VALID_FOR_MS;
    expect(() => family.join(ben, invitation, new Date(expiry))).toThrow(
      expect.objectContaining({ slug: 'invitation-expired', kind: 'gone' }),
    );
    expect(family.join(ben, invitation, new Date(expiry - 1))).toBeDefined();
  });

  test('is rejected for a current member, and the invitation stays valid for others', () => {
    const family = new Family(anna, ben);
    const invitation = family.invite();
    expect(() => family.join(ben, invitation)).toThrow(
      expect.objectContaining({ slug: 'already-in-family-account', kind: 'conflict' }),
    );
    expect(family.join(cho, invitation)).toBeDefined();
  });

  test('adds at most five members', () => {
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
  test('raises an event with its reason', () => {
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

  test('hands an owner’s account over to the longest-standing member', () => {
    const family = new Family(anna, ben, cho);
    family.leave(ben);
    family.join(ben);
    const before = family.eventCount;
    family.leave(anna);
    expect(family.account.ownerId).toBe(cho);
    expect(family.eventTypes(before)).toEqual(['member-withdrawn', 'owner-changed']);
    family.leave(cho);
    expect(family.account.ownerId).toBe(ben);
  });

  test('closes the account and erases its name with the last member, as the last event', () => {
    const family = new Family(anna, ben);
    const invitation = family.invite();
    family.leave(anna);
    const before = family.eventCount;
    family.leave(ben);
    expect(family.account).toMatchObject({ status: 'CLOSED', closedAt: at, name: null, ownerId: null });
    expect(family.eventTypes(before)).toEqual(['member-withdrawn', 'closed']);
    expect(raisedBy(family.account).at(-1)).toMatchObject({ erases: true });
    const closed = expect.objectContaining({ slug: 'family-account-closed', kind: 'gone' });
    expect(() => family.join(cho, invitation)).toThrow(closed);
    expect(() => family.invite()).toThrow(closed);
    expect(family.eventTypes(before)).toEqual(['member-withdrawn', 'closed']);
  });

  test('changes nothing and raises no event when it has ended before', () => {
    const family = new Family(anna, ben);
    const [, bens] = family.members;
    family.leave(ben);
    const before = family.eventCount;
    family.account.endMembership(family.members, bens!, 'MEMBER_WITHDRAWN', new Date());
    expect(bens).toMatchObject({ endedAt: at, endReason: 'LEFT' });
    expect(family.eventTypes(before)).toEqual([]);
  });
});

describe('Transferring ownership', () => {
  test('changes the owner to another member and raises an event', () => {
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

  test('changes nothing and raises no event for the current owner', () => {
    const family = new Family(anna, ben);
    const before = family.eventCount;
    family.account.transferOwnership(family.members, anna);
    expect(family.eventTypes(before)).toEqual([]);
  });

  test('rejects a person who is not a member', () => {
    const family = new Family(anna, ben);
    expect(() => family.account.transferOwnership(family.members, cho)).toThrow(
      expect.objectContaining({ slug: 'not-a-member' }),
    );
    expect(family.account.ownerId).toBe(anna);
  });
});
