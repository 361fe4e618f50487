import type { MikroORM } from '@mikro-orm/postgresql';
import { Canary } from '#eventing/canary';
import { EventStore } from '#eventing/event-store';
import { Keyring } from '#eventing/keyring';
import { RelayWakeUp } from '#eventing/outbox';
import { eventingMigrations } from '#eventing/schema';
import { idempotencyMigrations } from '#http/idempotency-table';
import * as database from '#process/database';
import { LoginRecord } from './domain/login-record.ts';
import { Member } from './domain/member.ts';
import { Session } from './domain/session.ts';
import { Member0001Create } from './migrations/0001-create-member.ts';
import { Member0002AddLogInAttempts } from './migrations/0002-add-log-in-attempts.ts';
import { Member0003AddRestored } from './migrations/0003-add-restored.ts';
import { system } from './system.ts';

export interface Database extends AsyncDisposable {
  readonly orm: MikroORM;
  readonly keyring: Keyring;
}

/**
 * Connects to the member system's database. Flushing an entity stores the events that it has raised.
 * @param program name of the writing program, recorded with each event
 */
export async function connect({
  url,
  masterKeys,
  program,
  maxConnections = 10,
}: {
  url: string;
  masterKeys: readonly Buffer[];
  program: string;
  maxConnections?: number;
}): Promise<Database> {
  const keyring = new Keyring(masterKeys);
  const relay: RelayWakeUp = new RelayWakeUp(() => orm);
  const store = new EventStore({ system, program, keyring, wakeRelay: () => relay.wake() });
  const orm = await database.connect({
    url,
    name: program,
    entities: [Member, Session, LoginRecord, Canary],
    subscribers: [store],
    pool: { max: maxConnections },
  });
  return { orm, keyring, [Symbol.asyncDispose]: () => orm.close(true) };
}

/**
 * Migrates the member system's database to the newest schema.
 * @param ownerUrl connection URL of the role that owns the database
 */
export async function migrate(ownerUrl: string, print?: (line: string) => void): Promise<void> {
  const migrations = [
    ...eventingMigrations({ roles: 'member' }),
    { name: 'Member0001Create', class: Member0001Create },
    { name: 'Member0002AddLogInAttempts', class: Member0002AddLogInAttempts },
    { name: 'Member0003AddRestored', class: Member0003AddRestored },
    ...idempotencyMigrations({ roles: 'member' }),
  ];
  await database.migrate({ url: ownerUrl, migrations, print });
}
