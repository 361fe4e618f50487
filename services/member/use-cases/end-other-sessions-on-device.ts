import type { EntityManager } from '@mikro-orm/postgresql';
import { array } from '#eventing/sql';
import { Session } from '../domain/session.ts';
import { lockMember } from './lock-member.ts';

/**
 * Ends every session on a device that a later session of another member supersedes: only the member who logged in last stays logged in.
 * Later means a higher number, whether that session is live or not (docs/decisions/0012). Runs in `em`'s transaction.
 */
export function endOtherSessionsOnDevice(em: EntityManager, deviceId: string, at = new Date()): Promise<void> {
  return endOtherSessionsOnDevices(em, [deviceId], at);
}

/**
 * Does the same for several devices. To avoid deadlocks, all devices are locked before any member, and both in a fixed order.
 */
export async function endOtherSessionsOnDevices(
  em: EntityManager,
  deviceIds: readonly string[],
  at = new Date(),
): Promise<void> {
  for (const deviceId of [...new Set(deviceIds)].sort())
    await em.execute(`select pg_advisory_xact_lock(hashtextextended(?, 0))`, [`device ${deviceId}`]);
  for (const { number, memberId } of await findSuperseded(em, deviceIds)) {
    const member = await lockMember(em, memberId);
    member.logOut(await em.findOneOrFail(Session, Number(number), { refresh: true }), 'OTHER_MEMBER_ON_DEVICE', at);
  }
}

/** Returns superseded sessions in the order of their members' ids, in which members must be locked. */
function findSuperseded(
  em: EntityManager,
  deviceIds: readonly string[],
): Promise<{ number: string; memberId: string }[]> {
  return em.execute(
    `select number, member_id as "memberId" from session older
      where device_id = any(?::text[]) and logged_out_at is null
        and exists (select from session later
                     where later.device_id = older.device_id and later.number > older.number and later.member_id <> older.member_id)
      order by member_id, number`,
    [array(deviceIds)],
  );
}
