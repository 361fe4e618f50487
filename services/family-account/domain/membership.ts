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
    /** Of two members of an account the one who has been in it longer has the lower one, whatever clocks say. */
    position: p.integer(),
    joinedAt: p.datetime(),
    endedAt: p.datetime().nullable(),
    endReason: p.string().$type<EndReason>().nullable(),
  },
});

export type NewMembership = Pick<Membership, 'id' | 'familyAccountId' | 'memberId' | 'position' | 'joinedAt'>;

/** A member's belonging to a family account, from joining until it ends. Changed through its account only, whose row is locked meanwhile. */
export class Membership extends schema.class {
  static begin(membership: NewMembership): Membership {
    return Object.assign(new Membership(), membership);
  }

  end(reason: EndReason, at: Date): void {
    Object.assign(this, { endReason: reason, endedAt: at });
  }
}
schema.setClass(Membership);
