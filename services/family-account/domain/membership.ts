import { defineEntity, p } from '@mikro-orm/core';

export const END_REASONS = ['LEFT', 'REMOVED', 'IDENTITY_NOT_VERIFIED', 'MEMBER_WITHDRAWN'] as const;
export type EndReason = (typeof END_REASONS)[number];

const schema = defineEntity({
  name: 'Membership',
  tableName: 'membership',
  properties: {
    id: p.uuid().primary(),
    familyAccountId: p.uuid(),
    memberId: p.uuid(),
    /** Order of joining within the account; independent of clocks. */
    position: p.integer(),
    joinedAt: p.datetime(),
    endedAt: p.datetime().nullable(),
    endReason: p.string().$type<EndReason>().nullable(),
  },
});

export type NewMembership = Pick<Membership, 'id' | 'familyAccountId' | 'memberId' | 'position' | 'joinedAt'>;

/** Membership in a family account, from joining until it ends. Change it only through its account, whose row must be locked. */
export class Membership extends schema.class {
  static begin(membership: NewMembership): Membership {
    return Object.assign(new Membership(), membership);
  }

  end(reason: EndReason, at: Date): void {
    Object.assign(this, { endReason: reason, endedAt: at });
  }
}
schema.setClass(Membership);
