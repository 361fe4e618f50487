import { UniqueConstraintViolationException } from '@mikro-orm/core';
import { DomainError } from '#process/errors';

/**
 * Runs `work` and converts a violation of a unique constraint to a domain error. The constraint decides: a check beforehand would let two
 * concurrent requests through.
 * @param refusals slug and message, by the constraint's name
 * @throws DomainError of kind `conflict`
 */
export async function refusingDuplicates<T>(
  refusals: Readonly<Record<string, readonly [slug: string, message: string]>>,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const refusal =
      error instanceof UniqueConstraintViolationException
        ? refusals[(error as { constraint?: string }).constraint ?? '']
        : undefined;
    if (refusal) throw new DomainError(...refusal, 'conflict', { cause: error });
    throw error;
  }
}

export const EMAIL_TAKEN = { member_email_key: ['email-taken', 'Another member has this e-mail address'] } as const;
export const IDENTITY_TAKEN = {
  member_identity_hash_key: ['identity-taken', 'This person is already verified as another member'],
} as const;
