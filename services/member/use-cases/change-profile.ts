import type { EntityManager } from '@mikro-orm/postgresql';
import type { Member } from '../domain/member.ts';
import { EMAIL_TAKEN, refusingDuplicates } from '../unique-violations.ts';
import { lockMember } from './lock-member.ts';

/**
 * Changes a member's e-mail address or name.
 * @throws DomainError `member-not-found`, `member-withdrawn`, `email-taken`
 */
export function changeProfile(
  em: EntityManager,
  { memberId, ...profile }: { memberId: string; email?: string | undefined; name?: string | undefined },
): Promise<Member> {
  return refusingDuplicates(EMAIL_TAKEN, () =>
    em.transactional(async (tx) => {
      const member = await lockMember(tx, memberId);
      member.changeProfile(profile);
      return member;
    }),
  );
}
