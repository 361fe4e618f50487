import { defineEntity, p } from '@mikro-orm/core';
import { DomainError } from '#process/errors';

const schema = defineEntity({
  name: 'Invitation',
  tableName: 'invitation',
  properties: {
    id: p.uuid().primary(),
    familyAccountId: p.uuid(),
    /** SHA-256 of the code, hex. */
    codeHash: p.string().hidden(),
    issuedAt: p.datetime(),
    expiresAt: p.datetime(),
    acceptedBy: p.uuid().nullable(),
    acceptedAt: p.datetime().nullable(),
  },
});

/** Long enough for a person who reads e-mail only at weekends. */
export const VALID_FOR_MS = 7 * 24 * 60 * 60 * 1_000;

/** Lets one member who has its code join a family account. Change it only through its account, whose row must be locked. */
export class Invitation extends schema.class {
  static issue(id: string, given: { familyAccountId: string; codeHash: string }, at: Date): Invitation {
    const expiresAt = new Date(at.getTime() + VALID_FOR_MS);
    return Object.assign(new Invitation(), { id, ...given, issuedAt: at, expiresAt });
  }

  /** @throws DomainError `invitation-used`, `invitation-expired` */
  mustBeUsable(at: Date): void {
    if (this.acceptedBy != null) {
      throw new DomainError('invitation-used', 'This invitation has been used already', 'gone');
    }
    if (at >= this.expiresAt) throw new DomainError('invitation-expired', 'This invitation has expired', 'gone');
  }

  use(memberId: string, at: Date): void {
    Object.assign(this, { acceptedBy: memberId, acceptedAt: at });
  }
}
schema.setClass(Invitation);
