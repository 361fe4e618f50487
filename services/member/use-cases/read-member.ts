import type { EntityManager } from '@mikro-orm/postgresql';
import { Member } from '../domain/member.ts';
import { memberNotFound } from './lock-member.ts';

/**
 * Reads the newest state of a member, without a lock; also of a withdrawn one.
 * @throws DomainError `member-not-found`
 */
export async function readMember(em: EntityManager, id: string): Promise<Member> {
  const member = await em.findOne(Member, id, { disableIdentityMap: true });
  if (!member) throw memberNotFound();
  return member;
}
