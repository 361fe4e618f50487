import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { Member } from '../domain/member.ts';
import { hashPassword } from '../passwords.ts';
import { EMAIL_TAKEN, refusingDuplicates } from '../unique-violations.ts';

/** Registers a new member. @throws DomainError `email-taken` */
export async function registerMember(
  em: EntityManager,
  { email, name, password }: { email: string; name: string; password: string },
  at = new Date(),
): Promise<Member> {
  const passwordHash = await hashPassword(password);
  return refusingDuplicates(EMAIL_TAKEN, () =>
    em.transactional(async (tx) => {
      const member = Member.register(uuid(), { email, name, passwordHash }, at);
      tx.persist(member);
      return member;
    }),
  );
}
