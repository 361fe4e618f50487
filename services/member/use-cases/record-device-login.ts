import type { EntityManager } from '@mikro-orm/postgresql';
import { LoginRecord } from '../domain/login-record.ts';
import { lockMember } from './lock-member.ts';

export type DeviceLogin = Pick<
  LoginRecord,
  'eventId' | 'memberId' | 'sessionNumber' | 'deviceId' | 'deviceName' | 'deviceOs' | 'ip' | 'userAgent' | 'at'
>;

/**
 * Writes one log-in into the member's log, once however often it is told. In `em`'s transaction.
 * Locks the member, since one that withdraws at this moment must not leave a record behind.
 */
export async function recordDeviceLogin(em: EntityManager, login: DeviceLogin): Promise<void> {
  const member = await lockMember(em, login.memberId);
  if (member.status === 'WITHDRAWN') return;
  await em.upsert(LoginRecord, login, { onConflictFields: ['eventId'], onConflictAction: 'ignore' });
}
