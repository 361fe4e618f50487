import type { EntityManager } from '@mikro-orm/postgresql';
import { LoginRecord } from '../domain/login-record.ts';

/**
 * Returns a member's login records, latest first.
 * @param before returns only records before the one of this event id: event ids sort by time
 * @param limit maximum number of records
 */
export function listLoginRecords(
  em: EntityManager,
  { memberId, before, limit }: { memberId: string; before?: string | undefined; limit: number },
): Promise<LoginRecord[]> {
  const where = { memberId, ...(before !== undefined && { eventId: { $lt: before } }) };
  return em.find(LoginRecord, where, { orderBy: { eventId: 'desc' }, limit });
}
