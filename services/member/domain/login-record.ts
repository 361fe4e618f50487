import { defineEntity, p } from '@mikro-orm/core';

const schema = defineEntity({
  name: 'LoginRecord',
  tableName: 'login_record',
  properties: {
    /** Id of the `member.logged-in` event, so that a log-in has only one record. UUIDv7: sorts by time. */
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

/** Record of one log-in of a member. Deleted when the member withdraws. */
export class LoginRecord extends schema.class {}
schema.setClass(LoginRecord);
