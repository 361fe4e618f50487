import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { alreadyInFamilyAccount } from '../domain/family-account.ts';

/**
 * Does `work`, in which somebody joins a family account. The unique index is what decides: of two accounts that a member joins at the same
 * moment, a look beforehand would let both through.
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
