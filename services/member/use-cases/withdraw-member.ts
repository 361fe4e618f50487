import type { EntityManager } from '@mikro-orm/postgresql';
import { LoginRecord } from '../domain/login-record.ts';
import { Session } from '../domain/session.ts';
import { endOtherSessionsOnDevices } from './end-other-sessions-on-device.ts';
import { findLiveSessions } from './list-sessions.ts';
import { lockMember } from './lock-member.ts';

/**
 * Ends the membership for good, and everything that is known of the person: in these tables here, in what was ever said about it by the
 * destruction of its key, which comes with the fact.
 * @throws DomainError `member-not-found`
 */
export async function withdrawMember(em: EntityManager, memberId: string, at = new Date()): Promise<void> {
  // Once more for each log-in on yet another device that came in just before: devices are locked before members.
  while (!(await em.transactional((tx) => withdrawWhenSettled(tx, memberId, at), { clear: true })));
}

/** @returns false when a device is not settled yet */
async function withdrawWhenSettled(tx: EntityManager, memberId: string, at: Date): Promise<boolean> {
  const settled = new Set(await settleDevices(tx, memberId));
  const member = await lockMember(tx, memberId);
  if ((await devicesOf(tx, memberId)).some((device) => !settled.has(device))) return false;
  member.withdraw(await findLiveSessions(tx, memberId), at);
  await tx.flush();
  await forgetLogIns(tx, memberId);
  return true;
}

/** Which devices a member was logged in on, and when, is nobody's business once it has withdrawn. In `tx`'s transaction. */
export async function forgetLogIns(tx: EntityManager, memberId: string): Promise<void> {
  await tx.nativeUpdate(Session, { memberId }, { deviceId: null, deviceName: null, deviceOs: null });
  await tx.nativeDelete(LoginRecord, { memberId });
}

/**
 * Whom this member's log-ins have superseded on a device is found by the device, which is about to be forgotten: those sessions end now,
 * if their worker has not come yet. Before the member is locked, since whoever settles a device locks it first, and then its members.
 * @returns the devices
 */
async function settleDevices(tx: EntityManager, memberId: string): Promise<string[]> {
  const devices = await devicesOf(tx, memberId);
  await endOtherSessionsOnDevices(tx, devices);
  return devices;
}

async function devicesOf(tx: EntityManager, memberId: string): Promise<string[]> {
  const rows = await tx.execute<{ id: string }[]>(
    'select distinct device_id as id from session where member_id = ? and device_id is not null',
    [memberId],
  );
  return rows.map(({ id }) => id);
}
