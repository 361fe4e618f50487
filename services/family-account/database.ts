import type { MikroORM } from '@mikro-orm/postgresql';
import { Canary } from '#eventing/canary';
import { EventStore } from '#eventing/event-store';
import { Keyring } from '#eventing/keyring';
import { RelayWakeUp } from '#eventing/outbox';
import { eventingMigrations } from '#eventing/schema';
import * as database from '#service/database';
import { idempotencyMigrations } from '#service/idempotency';
import { FamilyAccount } from './domain/family-account.ts';
import { Invitation } from './domain/invitation.ts';
import { Membership } from './domain/membership.ts';
import { FamilyAccount0001Create } from './migrations/0001-create-family-account.ts';
import { system } from './system.ts';

export interface Database extends AsyncDisposable {
  readonly orm: MikroORM;
  readonly keyring: Keyring;
}

/**
 * The family-account system's database, where what family accounts raise is stored as facts.
 * @param channel the program that writes, as facts name it
 */
export async function connect({
  url,
  masterKeys,
  channel = system.name,
}: {
  url: string;
  masterKeys: readonly Buffer[];
  channel?: string;
}): Promise<Database> {
  const keyring = new Keyring(masterKeys);
  const relay: RelayWakeUp = new RelayWakeUp(() => orm);
  const store = new EventStore({ system, channel, keyring, wakeRelay: () => relay.poke() });
  const entities = [FamilyAccount, Membership, Invitation, Canary];
  const orm = await database.connect({ url, name: channel, entities, subscribers: [store] });
  return { orm, keyring, [Symbol.asyncDispose]: () => orm.close(true) };
}

/**
 * Brings the family-account system's database up to date.
 * @param ownerUrl of the role that owns it
 */
export async function migrate(ownerUrl: string, print?: (line: string) => void): Promise<void> {
  const migrations = [
    ...eventingMigrations({ roles: 'family_account' }),
    { name: 'FamilyAccount0001Create', class: FamilyAccount0001Create },
    ...idempotencyMigrations({ roles: 'family_account' }),
  ];
  await database.migrate({ url: ownerUrl, migrations, print });
}
