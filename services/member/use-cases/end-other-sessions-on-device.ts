import type { EntityManager } from '@mikro-orm/postgresql';
import { array } from '#eventing/sql';
import { Session } from '../domain/session.ts';
import { lockMember } from './lock-member.ts';

/**
 * One member at a time is logged in on a device, the last one: ends every session there that a later one of another member supersedes.
 * As with a member's own sessions, later by number, live or not. In `em`'s transaction.
 */
export function endOtherSessionsOnDevice(em: EntityManager, deviceId: string, at = new Date()): Promise<void> {
  return endOtherSessionsOnDevices(em, [deviceId], at);
}

/**
 * The same on several devices. All devices are locked before any member, and each in one order for all: who settles one of them at the
 * same moment is waited for, or waits, and never both.
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

/** In the order of the members' ids, in which they are then locked. */
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
