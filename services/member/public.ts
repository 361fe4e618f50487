// The entry point for the member system's workers: they have no domain of their own and may import nothing else of it.
export { externalBroadcaster } from './consumers.ts';
export { connect } from './database.ts';
export { events } from './events.ts';
export { workerSettings } from './settings.ts';
export { system } from './system.ts';
export { endOtherSessionsOfMember } from './use-cases/end-other-sessions-of-member.ts';
export { endOtherSessionsOnDevice } from './use-cases/end-other-sessions-on-device.ts';
export { recordDeviceLogin } from './use-cases/record-device-login.ts';
