import type { EntityManager } from '@mikro-orm/postgresql';
import { LoginRecord } from '../domain/login-record.ts';
import { lockMember } from './lock-member.ts';

export type DeviceLogin = Pick<
  LoginRecord,
  'eventId' | 'memberId' | 'sessionNumber' | 'deviceId' | 'deviceName' | 'deviceOs' | 'ip' | 'userAgent' | 'at'
>;

/**
 * Stores the login record of one log-in; idempotent by event id. Runs in `em`'s transaction.
 * Locks the member: otherwise a concurrent withdrawal could leave a record behind.
 */
export async function recordDeviceLogin(em: EntityManager, login: DeviceLogin): Promise<void> {
  const member = await lockMember(em, login.memberId);
  if (member.status === 'WITHDRAWN') return;
  await em.upsert(LoginRecord, login, { onConflictFields: ['eventId'], onConflictAction: 'ignore' });
}
