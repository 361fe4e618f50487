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
  await em.transactional(async (tx) => {
    await settleDevices(tx, memberId);
    const member = await lockMember(tx, memberId);
    member.withdraw(await findLiveSessions(tx, memberId), at);
    await tx.flush();
    await tx.nativeUpdate(Session, { memberId }, { deviceId: null, deviceName: null, deviceOs: null });
    await tx.nativeDelete(LoginRecord, { memberId });
  });
}

/**
 * Whom this member's log-ins have superseded on a device is found by the device, which is about to be forgotten: those sessions end now,
 * if their worker has not come yet. Before the member is locked, since whoever settles a device locks it first, and then its members.
 */
async function settleDevices(tx: EntityManager, memberId: string): Promise<void> {
  const sessions = await tx.find(Session, { memberId, deviceId: { $ne: null } }, { fields: ['deviceId'] });
  await endOtherSessionsOnDevices(
    tx,
    sessions.map(({ deviceId }) => deviceId!),
  );
}
