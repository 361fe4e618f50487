import { LockMode } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#process/errors';
import { Member } from '../domain/member.ts';

/**
 * Loads the newest state of a member and locks it until the transaction ends. Every change of a member or its sessions must start with
 * this: the lock orders a member's changes and makes `withdrawn` the last event. Lock several members in the order of their ids.
 * @param em must be in a transaction
 * @throws DomainError `member-not-found`
 */
export async function lockMember(em: EntityManager, id: string): Promise<Member> {
  const member = await em.findOne(Member, id, { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true });
  if (!member) throw memberNotFound();
  return member;
}

export function memberNotFound(): DomainError {
  return new DomainError('member-not-found', 'Member not found', 'not-found');
}
