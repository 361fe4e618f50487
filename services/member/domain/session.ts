import { defineEntity, p } from '@mikro-orm/core';
import type { LogoutReason } from '../events.ts';

const schema = defineEntity({
  name: 'Session',
  tableName: 'session',
  properties: {
    /** From a database sequence: a later session has a higher number, independent of clocks. */
    number: p.bigint('number').primary(),
    memberId: p.uuid(),
    /** SHA-256 of the token, hex; null once the session has ended. */
    tokenHash: p.string().nullable().hidden(),
    // The device fields are null once the member has withdrawn.
    deviceId: p.string().nullable(),
    deviceName: p.string().nullable(),
    deviceOs: p.string().nullable(),
    loggedInAt: p.datetime(),
    lastSeenAt: p.datetime(),
    loggedOutAt: p.datetime().nullable(),
    logoutReason: p.string().$type<LogoutReason>().nullable(),
  },
});

export interface Device {
  readonly id: string;
  readonly name: string;
  readonly os: string;
}

export interface NewSession {
  readonly number: number;
  readonly tokenHash: string;
  readonly device: Device;
}

/** A log-in on a device, live until it ends. Change it only through its member, whose row must be locked. */
export class Session extends schema.class {
  static open(memberId: string, { number, tokenHash, device }: NewSession, at: Date): Session {
    return Object.assign(new Session(), {
      number,
      memberId,
      tokenHash,
      deviceId: device.id,
      deviceName: device.name,
      deviceOs: device.os,
      loggedInAt: at,
      lastSeenAt: at,
    });
  }

  /** Ends the session. @returns whether it was live before */
  end(reason: LogoutReason, at: Date): boolean {
    if (this.loggedOutAt) return false;
    Object.assign(this, { loggedOutAt: at, logoutReason: reason, tokenHash: null });
    return true;
  }
}
schema.setClass(Session);
