import type { MikroORM } from '@mikro-orm/postgresql';
import { Canary } from '#eventing/canary';
import { EventStore } from '#eventing/event-store';
import { Keyring } from '#eventing/keyring';
import { RelayWakeUp } from '#eventing/outbox';
import { eventingMigrations } from '#eventing/schema';
import { idempotencyMigrations } from '#http/idempotency-table';
import * as database from '#process/database';
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
 * Connects to the family-account system's database. Flushing an entity stores the events that it has raised.
 * @param program name of the writing program, recorded with each event
 */
export async function connect({
  url,
  masterKeys,
  program = system.name,
}: {
  url: string;
  masterKeys: readonly Buffer[];
  program?: string;
}): Promise<Database> {
  const keyring = new Keyring(masterKeys);
  const relay: RelayWakeUp = new RelayWakeUp(() => orm);
  const store = new EventStore({ system, program, keyring, wakeRelay: () => relay.wake() });
  const entities = [FamilyAccount, Membership, Invitation, Canary];
  const orm = await database.connect({ url, name: program, entities, subscribers: [store] });
  return { orm, keyring, [Symbol.asyncDispose]: () => orm.close(true) };
}

/**
 * Migrates the family-account system's database to the newest schema.
 * @param ownerUrl connection URL of the role that owns the database
 */
export async function migrate(ownerUrl: string, print?: (line: string) => void): Promise<void> {
  const migrations = [
    ...eventingMigrations({ roles: 'family_account' }),
    { name: 'FamilyAccount0001Create', class: FamilyAccount0001Create },
    ...idempotencyMigrations({ roles: 'family_account' }),
  ];
  await database.migrate({ url: ownerUrl, migrations, print });
}
