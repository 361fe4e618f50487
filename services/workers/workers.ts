import { ConfigError } from '#service/config';
import { deviceLoginRecorder } from './device-login-recorder.ts';
import { externalBroadcaster } from './external-broadcaster.ts';
import { otherDeviceLogout } from './other-device-logout.ts';
import { otherMemberLogout } from './other-member-logout.ts';
import { publishRecorder } from './publish-recorder.ts';
import type { Worker } from './worker.ts';

/** All workers, by name, which is the app-id too. */
export const workers: Readonly<Record<string, Worker>> = {
  'publish-recorder': publishRecorder,
  'device-login-recorder': deviceLoginRecorder,
  'other-device-logout': otherDeviceLogout,
  'other-member-logout': otherMemberLogout,
  'external-broadcaster': externalBroadcaster,
};

/** @throws ConfigError that lists the names, when this is none of them */
export function findWorker(name: string | undefined): { name: string; worker: Worker } {
  if (name !== undefined && Object.hasOwn(workers, name)) return { name, worker: workers[name]! };
  const given = name === undefined ? 'No worker is named' : `There is no worker ${JSON.stringify(name)}`;
  throw new ConfigError(`${given}. Name one of: ${Object.keys(workers).join(', ')}`);
}
