import type { EntityManager } from '@mikro-orm/postgresql';
import { LoginRecord } from '../domain/login-record.ts';

/** A member's log-ins, the latest first; those before the record of event `before`, at most `limit`. Event ids sort by time. */
export function listLoginRecords(
  em: EntityManager,
  { memberId, before, limit }: { memberId: string; before?: string | undefined; limit: number },
): Promise<LoginRecord[]> {
  const where = { memberId, ...(before !== undefined && { eventId: { $lt: before } }) };
  return em.find(LoginRecord, where, { orderBy: { eventId: 'desc' }, limit });
}
