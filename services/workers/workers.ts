import { ConfigError } from '#process/config';
import { deviceLoginRecorder } from './device-login-recorder.ts';
import { externalBroadcaster } from './external-broadcaster.ts';
import { otherDeviceLogout } from './other-device-logout.ts';
import { otherMemberLogout } from './other-member-logout.ts';
import { publishRecorder } from './publish-recorder.ts';
import type { Worker } from './worker.ts';

/** All workers, by name; the name is also the app-id. */
export const workers: Readonly<Record<string, Worker>> = {
  'publish-recorder': publishRecorder,
  'device-login-recorder': deviceLoginRecorder,
  'other-device-logout': otherDeviceLogout,
  'other-member-logout': otherMemberLogout,
  'external-broadcaster': externalBroadcaster,
};

/**
 * Returns the worker with this name.
 * @throws ConfigError that lists the valid names, when the name is missing or unknown
 */
export function findWorker(name: string | undefined): { name: string; worker: Worker } {
  if (name !== undefined && Object.hasOwn(workers, name)) return { name, worker: workers[name]! };
  const problem = name === undefined ? 'Worker name missing' : `Unknown worker ${JSON.stringify(name)}`;
  throw new ConfigError(`${problem}. Pass one of: ${Object.keys(workers).join(', ')}`);
}
