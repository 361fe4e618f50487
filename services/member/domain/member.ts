import { defineEntity, p } from '@mikro-orm/core';
import { raise } from '#eventing/domain-event';
import { DomainError } from '#process/errors';
import { events, type LogoutReason } from '../events.ts';
import { type NewSession, Session } from './session.ts';

const schema = defineEntity({
  name: 'Member',
  tableName: 'member',
  properties: {
    id: p.uuid().primary(),
    status: p.enum(['ACTIVE', 'WITHDRAWN']),
    // Personal data is null once the member has withdrawn.
    email: p.string().nullable(),
    name: p.string().nullable(),
    passwordHash: p.string().nullable().hidden(),
    /** Keyed hash of the verified person's CI; null while the identity is not verified. */
    identityHash: p.string().nullable().hidden(),
    identityVerifiedAt: p.datetime().nullable(),
    registeredAt: p.datetime(),
    withdrawnAt: p.datetime().nullable(),
    version: p.integer().version(),
  },
});

/**
 * A member, with all its state changes. Each method raises an event, unless nothing changes.
 * It is also the aggregate root of its sessions, so that all events of a member have one order.
 */
export class Member extends schema.class {
  static register(id: string, given: { email: string; name: string; passwordHash: string }, at: Date): Member {
    const member = new Member();
    Object.assign(member, { id, ...given, status: 'ACTIVE', registeredAt: at });
    raise(member, events.registered(id, { email: given.email, name: given.name }));
    return member;
  }

  /**
   * Recreates, as withdrawn, a member known only from replayed events: its password and encryption key are lost with the database.
   * @param isRecorded whether its `withdrawn` event exists already; otherwise it is raised
   */
  static lost(id: string, { isRecorded }: { isRecorded: boolean }, at: Date): Member {
    const member = new Member();
    Object.assign(member, { id, status: 'WITHDRAWN', registeredAt: at, withdrawnAt: at });
    if (!isRecorded) raise(member, events.withdrawn(id, { status: 'WITHDRAWN' }));
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

  /** @param others live sessions to end: an attacker who knew the old password may own one */
  changePassword(passwordHash: string, others: readonly Session[], at: Date): void {
    this.mustBeActive();
    this.passwordHash = passwordHash;
    raise(this, events.passwordChanged(this.id, {}));
    for (const session of others) this.logOut(session, 'PASSWORD_CHANGED', at);
  }

  /** @throws DomainError `already-verified` when the member is verified as another person */
  verifyIdentity(identityHash: string, at: Date): void {
    this.mustBeActive();
    if (this.identityHash === identityHash) return;
    if (this.isVerified) {
      throw new DomainError(
        'already-verified',
        'This member is verified as another person: release that verification first',
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

  /** @param reason why, in words; encrypted in storage and in messages, like attribute values */
  releaseIdentityVerification(reason: string): void {
    this.mustBeActive();
    if (!this.isVerified) return;
    clearIdentity(this);
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

  /** @param live the member's live sessions: they end first, because `withdrawn` is the last event of a member */
  withdraw(live: readonly Session[], at: Date): void {
    if (this.status === 'WITHDRAWN') return;
    for (const session of live) this.logOut(session, 'WITHDRAWN', at);
    erase(this, at);
    raise(this, events.withdrawn(this.id, { status: 'WITHDRAWN' }));
  }

  /** Applies a change from a replayed event. Raises no event, because that event exists already. */
  replay(change: 'released' | 'withdrawn' | { email?: string | undefined; name?: string | undefined }, at: Date): void {
    if (change === 'released') clearIdentity(this);
    else if (change === 'withdrawn') erase(this, at);
    else Object.assign(this, change);
  }

  /** @throws DomainError `member-withdrawn` */
  mustBeActive(): void {
    if (this.status === 'WITHDRAWN') throw new DomainError('member-withdrawn', 'This member has withdrawn', 'conflict');
  }
}
schema.setClass(Member);

// Functions instead of `#private` methods: the ORM creates loaded entities without the constructor, so they would lack them.
function clearIdentity(member: Member): void {
  member.identityHash = null;
  member.identityVerifiedAt = null;
}

function erase(member: Member, at: Date): void {
  clearIdentity(member);
  Object.assign(member, { status: 'WITHDRAWN', withdrawnAt: at, email: null, name: null, passwordHash: null });
}
