import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { brokerUserNames } from './broker.ts';
import { generatePasswords } from './postgres.ts';

const token = (): string => randomBytes(32).toString('base64url');

function system() {
  return {
    /** Wraps the keys that encrypt the attribute values of events: without it the values are lost. */
    masterKey: randomBytes(32).toString('base64'),
    operatorToken: token(),
    databasePasswords: generatePasswords(),
  };
}

function generate() {
  return {
    member: system(),
    familyAccount: system(),
    /** Token that family-account reads a member's newest state with. */
    memberReaderToken: token(),
    identityProviderSecret: token(),
    /** Passwords by user of the broker. */
    brokerPasswords: Object.fromEntries(brokerUserNames().map((name) => [name, token()])),
    /** Sent by apps to their sidecars. */
    daprApiToken: token(),
    /** Sent by sidecars to their apps. */
    appApiToken: token(),
  };
}

export type Secrets = ReturnType<typeof generate>;

/**
 * Reads the secrets of this data directory, and generates and stores those that are missing. The file is readable for
 * the owner only.
 */
export async function secretsOf(dataDir: string): Promise<Secrets> {
  const file = join(dataDir, 'secrets.json');
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return '{}';
  });
  const stored: Partial<Secrets> = JSON.parse(text);
  const generated = generate();
  const brokerPasswords = { ...generated.brokerPasswords, ...stored.brokerPasswords };
  const secrets = { ...generated, ...stored, brokerPasswords };
  const wanted = `${JSON.stringify(secrets, null, 2)}\n`;
  if (wanted === text) return secrets;
  // Atomically: a truncated file would lose the master keys, and with them all encrypted values.
  await writeFile(`${file}.new`, wanted, { mode: 0o600 });
  await rename(`${file}.new`, file);
  return secrets;
}
