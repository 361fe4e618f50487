import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Progress } from '../local/progress.ts';
import { cacheFolder } from '../local/toolchain/binaries.ts';

/** Other products. They are no dependencies of this project: the bench installs them in a folder of its own. */
const versions = { 'pg-transactional-outbox': '0.5.7', 'graphile-worker': '0.18.0', 'pg-boss': '12.38.0' } as const;
export type PeerPackage = keyof typeof versions;

const folder = () => join(cacheFolder(), 'bench-peers');

/** Installs the other products into the cache, in exact versions, unless they are there. */
export async function installPeers(progress: Progress): Promise<void> {
  const missing = [];
  for (const [name, version] of Object.entries(versions)) {
    const file = join(folder(), 'node_modules', name, 'package.json');
    const installed = await readFile(file, 'utf8').then(JSON.parse, () => undefined);
    if (installed?.version !== version) missing.push(`${name}@${version}`);
  }
  if (missing.length === 0) return;
  progress.print(`installing ${missing.join(', ')} in ${folder()}`);
  await mkdir(folder(), { recursive: true });
  await writeFile(join(folder(), 'package.json'), '{ "private": true }');
  const all = Object.entries(versions).map(([name, version]) => `${name}@${version}`);
  await promisify(execFile)('npm', ['install', '--no-audit', '--no-fund', '--save-exact', ...all], { cwd: folder() });
}

/** Loads an installed product. It has no types here, because type checks run without it. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export function loadPeer(name: PeerPackage): any {
  return createRequire(join(folder(), 'index.js'))(name);
}
