import { LockMode } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#service/errors';
import { Member } from '../domain/member.ts';

/**
 * Loads a member as it is now and keeps others from changing it until the transaction ends. Every change of a member or of its sessions
 * begins with this, which is what makes withdrawn the last fact of a member, and of two changes one the later.
 * Several members are locked in the order of their ids.
 * @param em in a transaction
 * @throws DomainError `member-not-found`
 */
export async function lockMember(em: EntityManager, id: string): Promise<Member> {
  const member = await em.findOne(Member, id, { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true });
  if (!member) throw memberNotFound();
  return member;
}

export function memberNotFound(): DomainError {
  return new DomainError('member-not-found', 'There is no such member', 'not-found');
}
