import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generatePasswords } from './postgres.ts';

const token = (): string => randomBytes(32).toString('base64url');

function system() {
  return {
    /** Wraps the keys that the values of facts are encrypted with: who loses it loses those values. */
    masterKey: randomBytes(32).toString('base64'),
    operatorToken: token(),
    databasePasswords: generatePasswords(),
  };
}

function generate() {
  return {
    member: system(),
    familyAccount: system(),
    /** With which family-account reads a member's newest state. */
    memberReaderToken: token(),
    identityProviderSecret: token(),
    brokerToken: token(),
    /** Apps show it to their sidecars. */
    daprApiToken: token(),
    /** Sidecars show it to their apps. */
    appApiToken: token(),
  };
}

export type Secrets = ReturnType<typeof generate>;

/** The secrets of this data directory: generated once, readable for the owner only, kept as long as the data that they open. */
export async function secretsOf(dataDir: string): Promise<Secrets> {
  const file = join(dataDir, 'secrets.json');
  const known = await readFile(file, 'utf8').catch(() => undefined);
  if (known !== undefined) return JSON.parse(known) as Secrets;
  const secrets = generate();
  await writeFile(file, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
  return secrets;
}
