import { defineEntity, p } from '@mikro-orm/core';

const schema = defineEntity({
  name: 'LoginRecord',
  tableName: 'login_record',
  properties: {
    /** The fact that it records: one log-in leaves one record. UUIDv7, so it also sorts by time. */
    eventId: p.uuid().primary(),
    memberId: p.uuid(),
    sessionNumber: p.bigint('number'),
    deviceId: p.string(),
    deviceName: p.string(),
    deviceOs: p.string(),
    ip: p.string(),
    userAgent: p.string(),
    at: p.datetime(),
  },
});

/** A line of a member's log of log-ins. Deleted when the member withdraws. */
export class LoginRecord extends schema.class {}
schema.setClass(LoginRecord);
