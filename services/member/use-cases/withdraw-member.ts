import type { EntityManager } from '@mikro-orm/postgresql';
import { eraseAnswers } from '#http/idempotency-table';
import { LoginRecord } from '../domain/login-record.ts';
import { Session } from '../domain/session.ts';
import { endOtherSessionsOnDevices } from './end-other-sessions-on-device.ts';
import { findLiveSessions } from './list-sessions.ts';
import { lockMember } from './lock-member.ts';

/**
 * Withdraws a member and erases all personal data: columns of the tables here, and event attributes by destroying the member's key, which
 * storing the `withdrawn` event does.
 * @throws DomainError `member-not-found`
 */
export async function withdrawMember(em: EntityManager, memberId: string, at = new Date()): Promise<void> {
  // Repeats if the member has just logged in on another device: devices are locked before members, so it needs a new transaction.
  while (!(await em.transactional((tx) => withdrawWhenSettled(tx, memberId, at), { clear: true })));
}

/** @returns false, without a change, when a device of the member is not settled yet */
async function withdrawWhenSettled(tx: EntityManager, memberId: string, at: Date): Promise<boolean> {
  const settled = new Set(await settleDevices(tx, memberId));
  const member = await lockMember(tx, memberId);
  if ((await devicesOf(tx, memberId)).some((device) => !settled.has(device))) return false;
  member.withdraw(await findLiveSessions(tx, memberId), at);
  await tx.flush();
  await erasePerson(tx, memberId);
  return true;
}

/** Deletes a member's devices, login records and stored idempotent responses. Runs in `tx`'s transaction. */
export async function erasePerson(tx: EntityManager, memberId: string): Promise<void> {
  await tx.nativeUpdate(Session, { memberId }, { deviceId: null, deviceName: null, deviceOs: null });
  await tx.nativeDelete(LoginRecord, { memberId });
  await eraseAnswers(tx, memberId);
}

/**
 * Ends other members' sessions that this member's log-ins have superseded, if the worker has not yet: it finds them by device id, which is
 * about to be erased. Runs before the member is locked, because all code locks devices first, then their members.
 * @returns the device ids
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
