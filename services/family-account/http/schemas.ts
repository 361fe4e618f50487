import { z } from 'zod';
import { text, timestamp, uuid } from '#http/schema';
import type { FamilyAccountWithMembers } from '../use-cases/lock-family-account.ts';

export const familyAccountPath = z.strictObject({ id: uuid() });
export const membershipPath = z.strictObject({ id: uuid(), memberId: uuid() });
export const invitationPath = z.strictObject({
  code: z.string().regex(/^[\w-]{32}$/, 'is not an invitation code'),
});
export const newFamilyAccount = z.strictObject({ name: text({ max: 100 }) });
export const newOwner = z.strictObject({ memberId: uuid() });

export const familyAccount = z
  .object({
    id: z.uuid(),
    name: z.string().optional().meta({ description: 'Absent once the account is closed' }),
    status: z.enum(['OPEN', 'CLOSED']),
    members: z
      .array(z.object({ memberId: z.uuid(), role: z.enum(['OWNER', 'MEMBER']), joinedAt: timestamp }))
      .meta({ description: 'Longest-standing member first' }),
  })
  .meta({ id: 'FamilyAccount' });

export const invitation = z
  .object({
    code: z.string().meta({ description: 'Returned only once. Any member who has it can join, once' }),
    expiresAt: timestamp,
  })
  .meta({ id: 'Invitation' });

export function showFamilyAccount({ account, members }: FamilyAccountWithMembers): z.input<typeof familyAccount> {
  const { id, name, status, ownerId } = account;
  return {
    id,
    name: name ?? undefined,
    status,
    members: members.map(({ memberId, joinedAt }) => ({
      memberId,
      role: memberId === ownerId ? 'OWNER' : 'MEMBER',
      joinedAt,
    })),
  };
}
