import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The topics of both systems. */
export const topics = ['member-internal', 'member-external', 'family-account-internal', 'family-account-external'];

/** As in a cluster, but for the disk of a laptop. */
export const streamLimits = { replicas: 1, maxBytes: 256 * 1024 ** 2, maxAgeHours: 7 * 24 };

/**
 * Writes the configuration of a NATS server with JetStream that listens on 127.0.0.1 only and lets in who knows the token.
 * @param dataDir holds the configuration and the streams
 * @returns the arguments to start nats-server with
 */
export async function brokerArguments(dataDir: string, port: number, token: string): Promise<string[]> {
  const file = join(dataDir, 'nats-server.conf');
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const settings = [
    `listen: "127.0.0.1:${port}"`,
    `jetstream { store_dir: ${JSON.stringify(dataDir)}, max_file_store: 2GB }`,
    `authorization { token: "${token}" }`,
  ];
  await writeFile(file, `${settings.join('\n')}\n`, { mode: 0o600 });
  return ['--config', file];
}
