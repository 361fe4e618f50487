import { raisedBy } from '#eventing/domain-event';
import { Member } from '../../../../services/member/domain/member.ts';
import type { Session } from '../../../../services/member/domain/session.ts';

const id = '0198d7a2-0000-7000-8000-000000000001';
const at = new Date('2026-07-01T09:00:00Z');
const given = { email: 'anna@example.com', name: 'Anna', passwordHash: 'hash' };
const device = { id: 'phone-1', name: 'Anna’s phone', os: 'Android 16' };

const anna = () => Member.register(id, given, at);
/** Returns the events that a member has raised after its registration. */
const laterEventsOf = (member: Member) => raisedBy(member).slice(1);
const laterEventTypesOf = (member: Member) => laterEventsOf(member).map(({ type }) => type);

function verified(): Member {
  const member = anna();
  member.verifyIdentity('hash of Anna’s CI', at);
  return member;
}

function logIn(member: Member, number: number): Session {
  return member.logIn({ number, tokenHash: `hash ${number}`, device, ip: '192.0.2.1', userAgent: 'test' }, at);
}

describe('Registering', () => {
  test('creates an active member and raises an event without the password', () => {
    const member = anna();
    expect(member).toMatchObject({ id, status: 'ACTIVE', isVerified: false, registeredAt: at });
    expect(raisedBy(member)).toEqual([
      {
        type: 'member.registered',
        aggregateType: 'member',
        aggregateId: id,
        attributes: { email: given.email, name: given.name },
        reason: undefined,
        erases: false,
      },
    ]);
  });
});

describe('Changing the profile', () => {
  test('raises an event with the changed attributes only', () => {
    const member = anna();
    member.changeProfile({ email: given.email, name: 'Anne' });
    expect(laterEventsOf(member)).toMatchObject([{ type: 'member.profile-changed', attributes: { name: 'Anne' } }]);
    expect(laterEventsOf(member)[0]!.attributes).not.toHaveProperty('email');
    expect(member).toMatchObject({ name: 'Anne', email: given.email });
  });

  test.each([
    ['no attributes', {}],
    ['an unchanged name', { name: 'Anna' }],
    ['an unchanged profile', { ...given }],
  ])('raises no event for %s', (_, profile) => {
    const member = anna();
    member.changeProfile(profile);
    expect(laterEventsOf(member)).toEqual([]);
  });
});

describe('Changing the password', () => {
  test('raises an event without the password, then a logout for each other session', () => {
    const member = anna();
    const other = logIn(member, 7);
    member.changePassword('new hash', [other], at);
    expect(member.passwordHash).toBe('new hash');
    expect(laterEventsOf(member).slice(1)).toMatchObject([
      { type: 'member.password-changed', attributes: {} },
      { type: 'member.logged-out', attributes: { sessionNumber: 7, logoutReason: 'PASSWORD_CHANGED' } },
    ]);
    expect(other.loggedOutAt).toBe(at);
  });
});

describe('Verifying the identity', () => {
  test('raises an event with status and time, but not the person’s identity', () => {
    const member = verified();
    expect(member.isVerified).toBe(true);
    expect(laterEventsOf(member).map(({ attributes }) => attributes)).toEqual([
      { identityVerificationStatus: 'VERIFIED', identityVerifiedAt: at.toISOString() },
    ]);
  });

  test('raises no event for the same person again', () => {
    const member = verified();
    member.verifyIdentity('hash of Anna’s CI', new Date());
    expect(laterEventTypesOf(member)).toEqual(['member.identity-verified']);
    expect(member.identityVerifiedAt).toBe(at);
  });

  test('rejects another person until the verification is released', () => {
    const member = verified();
    expect(() => member.verifyIdentity('hash of Ben’s CI', at)).toThrow(
      expect.objectContaining({ slug: 'already-verified' }),
    );
    member.releaseIdentityVerification('mistaken for Ben');
    member.verifyIdentity('hash of Ben’s CI', at);
    expect(member.isVerified).toBe(true);
  });
});

describe('Releasing the verification', () => {
  test('raises an event with the reason', () => {
    const member = verified();
    member.releaseIdentityVerification('the document has expired');
    expect(member).toMatchObject({ isVerified: false, identityVerifiedAt: null });
    expect(laterEventsOf(member).at(-1)).toMatchObject({
      type: 'member.identity-verification-released',
      attributes: { identityVerificationStatus: 'NONE', identityVerifiedAt: null },
      reason: 'the document has expired',
    });
  });

  test('raises no event for an unverified member', () => {
    const member = anna();
    member.releaseIdentityVerification('just so');
    expect(laterEventsOf(member)).toEqual([]);
  });
});

describe('Logging in and out', () => {
  test('opens a live session on the device and raises an event without the token', () => {
    const member = anna();
    const session = logIn(member, 7);
    expect(session).toMatchObject({
      number: 7,
      memberId: id,
      tokenHash: 'hash 7',
      deviceId: device.id,
      lastSeenAt: at,
    });
    expect(session.loggedOutAt).toBeUndefined();
    expect(laterEventsOf(member)).toMatchObject([{ type: 'member.logged-in', aggregateId: id }]);
    expect(laterEventsOf(member)[0]!.attributes).toEqual({
      sessionNumber: 7,
      deviceId: device.id,
      deviceName: device.name,
      deviceOs: device.os,
      ip: '192.0.2.1',
      userAgent: 'test',
    });
  });

  test('ends a session once, for the first reason', () => {
    const member = anna();
    const session = logIn(member, 7);
    const later = new Date(at.getTime() + 1_000);
    member.logOut(session, 'SELF', at);
    member.logOut(session, 'OTHER_DEVICE', later);
    expect(session).toMatchObject({ loggedOutAt: at, logoutReason: 'SELF', tokenHash: null });
    expect(laterEventTypesOf(member)).toEqual(['member.logged-in', 'member.logged-out']);
  });
});

describe('Withdrawing', () => {
  test('ends the sessions, erases the personal data and raises the last event', () => {
    const member = verified();
    const session = logIn(member, 7);
    member.withdraw([session], at);
    expect(member).toMatchObject({
      status: 'WITHDRAWN',
      email: null,
      name: null,
      passwordHash: null,
      identityHash: null,
      identityVerifiedAt: null,
    });
    expect(laterEventsOf(member).slice(-2)).toMatchObject([
      { type: 'member.logged-out', attributes: { sessionNumber: 7, logoutReason: 'WITHDRAWN' }, erases: false },
      { type: 'member.withdrawn', attributes: { status: 'WITHDRAWN' }, erases: true },
    ]);
  });

  test('raises one event when repeated', () => {
    const member = anna();
    member.withdraw([], at);
    member.withdraw([], at);
    expect(laterEventTypesOf(member)).toEqual(['member.withdrawn']);
  });

  test.each<[string, (member: Member) => unknown]>([
    ['profile change', (member) => member.changeProfile({ name: 'Anne' })],
    ['password change', (member) => member.changePassword('new hash', [], at)],
    ['identity verification', (member) => member.verifyIdentity('hash', at)],
    ['release of the verification', (member) => member.releaseIdentityVerification('late')],
    ['login', (member) => logIn(member, 8)],
  ])('makes a later %s fail with member-withdrawn', (_, act) => {
    const member = anna();
    member.withdraw([], at);
    expect(() => act(member)).toThrow(expect.objectContaining({ slug: 'member-withdrawn', kind: 'conflict' }));
    expect(laterEventTypesOf(member).at(-1)).toBe('member.withdrawn');
  });
});
