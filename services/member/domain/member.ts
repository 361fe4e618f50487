import { defineEntity, p } from '@mikro-orm/core';
import { raise } from '#eventing/domain-event';
import { DomainError } from '#service/errors';
import { events, type LogoutReason } from '../events.ts';
import { type NewSession, Session } from './session.ts';

const schema = defineEntity({
  name: 'Member',
  tableName: 'member',
  properties: {
    id: p.uuid().primary(),
    status: p.enum(['ACTIVE', 'WITHDRAWN']),
    // What is about a person is null once the member has withdrawn.
    email: p.string().nullable(),
    name: p.string().nullable(),
    passwordHash: p.string().nullable().hidden(),
    /** Keyed hash of the verified person's CI; null while nobody is verified. */
    identityHash: p.string().nullable().hidden(),
    identityVerifiedAt: p.datetime().nullable(),
    registeredAt: p.datetime(),
    withdrawnAt: p.datetime().nullable(),
    version: p.integer().version(),
  },
});

/**
 * A member and everything that can happen to it. Each method states its fact, and none when nothing changes.
 * It is the root of its sessions too, so that all facts about a member come from one place, in the order in which they happen.
 */
export class Member extends schema.class {
  static register(id: string, given: { email: string; name: string; passwordHash: string }, at: Date): Member {
    const member = new Member();
    Object.assign(member, { id, ...given, status: 'ACTIVE', registeredAt: at });
    raise(member, events.registered(id, { email: given.email, name: given.name }));
    return member;
  }

  /**
   * One whose registration the database has lost, and with it its password and the key of all that it said: nobody can ever be it again, so it
   * has withdrawn. That is stated, unless it has been.
   */
  static lost(id: string, { isStated }: { isStated: boolean }, at: Date): Member {
    const member = new Member();
    Object.assign(member, { id, status: 'WITHDRAWN', registeredAt: at, withdrawnAt: at });
    if (!isStated) raise(member, events.withdrawn(id, { status: 'WITHDRAWN' }));
    return member;
  }

  get isVerified(): boolean {
    return this.identityHash != null;
  }

  changeProfile({ email = this.email!, name = this.name! }: { email?: string | undefined; name?: string | undefined }) {
    this.mustBeActive();
    const changed = { ...(email !== this.email && { email }), ...(name !== this.name && { name }) };
    if (Object.keys(changed).length === 0) return;
    Object.assign(this, changed);
    raise(this, events.profileChanged(this.id, changed));
  }

  /** @param others the live sessions that end with it: whoever knew the old password may be in one of them */
  changePassword(passwordHash: string, others: readonly Session[], at: Date): void {
    this.mustBeActive();
    this.passwordHash = passwordHash;
    raise(this, events.passwordChanged(this.id, {}));
    for (const session of others) this.logOut(session, 'PASSWORD_CHANGED', at);
  }

  /** @throws DomainError `already-verified` when it is verified as somebody else */
  verifyIdentity(identityHash: string, at: Date): void {
    this.mustBeActive();
    if (this.identityHash === identityHash) return;
    if (this.isVerified) {
      throw new DomainError(
        'already-verified',
        'This member is verified as another person; release that first',
        'conflict',
      );
    }
    this.identityHash = identityHash;
    this.identityVerifiedAt = at;
    raise(
      this,
      events.identityVerified(this.id, {
        identityVerificationStatus: 'VERIFIED',
        identityVerifiedAt: at.toISOString(),
      }),
    );
  }

  /** @param reason why, in words; it is stored and travels encrypted, as attribute values do */
  releaseIdentityVerification(reason: string): void {
    this.mustBeActive();
    if (!this.isVerified) return;
    forgetIdentity(this);
    raise(
      this,
      events.identityVerificationReleased(
        this.id,
        { identityVerificationStatus: 'NONE', identityVerifiedAt: null },
        reason,
      ),
    );
  }

  logIn(login: NewSession & { ip: string; userAgent: string }, at: Date): Session {
    this.mustBeActive();
    const { number, device, ip, userAgent } = login;
    raise(
      this,
      events.loggedIn(this.id, {
        sessionNumber: number,
        deviceId: device.id,
        deviceName: device.name,
        deviceOs: device.os,
        ip,
        userAgent,
      }),
    );
    return Session.open(this.id, login, at);
  }

  logOut(session: Session, logoutReason: LogoutReason, at: Date): void {
    if (session.end(logoutReason, at)) {
      raise(this, events.loggedOut(this.id, { sessionNumber: session.number, logoutReason }));
    }
  }

  /** @param live the member's live sessions, which end with it, before it: withdrawn is the last fact of a member */
  withdraw(live: readonly Session[], at: Date): void {
    if (this.status === 'WITHDRAWN') return;
    for (const session of live) this.logOut(session, 'WITHDRAWN', at);
    erase(this, at);
    raise(this, events.withdrawn(this.id, { status: 'WITHDRAWN' }));
  }

  /** Is again what facts say that it has become before the database was restored: they are there, so it states none. */
  recall(change: 'released' | 'withdrawn' | { email?: string | undefined; name?: string | undefined }, at: Date): void {
    if (change === 'released') forgetIdentity(this);
    else if (change === 'withdrawn') erase(this, at);
    else Object.assign(this, change);
  }

  /** @throws DomainError `member-withdrawn` */
  mustBeActive(): void {
    if (this.status === 'WITHDRAWN') throw new DomainError('member-withdrawn', 'This member has withdrawn', 'conflict');
  }
}
schema.setClass(Member);

// Not private methods: the ORM builds the entities it loads without the constructor that would give them one.
function forgetIdentity(member: Member): void {
  member.identityHash = null;
  member.identityVerifiedAt = null;
}

function erase(member: Member, at: Date): void {
  forgetIdentity(member);
  Object.assign(member, { status: 'WITHDRAWN', withdrawnAt: at, email: null, name: null, passwordHash: null });
}
