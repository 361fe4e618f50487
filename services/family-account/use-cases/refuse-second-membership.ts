import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { alreadyInFamilyAccount } from '../domain/family-account.ts';

/**
 * Runs `work`, in which a member joins a family account. The unique index decides: a check beforehand would let a member join two accounts
 * at the same moment.
 * @throws DomainError `already-in-family-account`
 */
export async function refusingSecondMembership<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const constraint =
      error instanceof UniqueConstraintViolationException && (error as { constraint?: string }).constraint;
    throw constraint === 'membership_member_key' ? alreadyInFamilyAccount(error) : error;
  }
}
