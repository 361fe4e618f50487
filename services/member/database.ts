import type { MikroORM } from '@mikro-orm/postgresql';
import { Canary } from '#eventing/canary';
import { EventStore } from '#eventing/event-store';
import { Keyring } from '#eventing/keyring';
import { RelayWakeUp } from '#eventing/outbox';
import { eventingMigrations } from '#eventing/schema';
import * as database from '#service/database';
import { idempotencyMigrations } from '#service/idempotency';
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
 * The member system's database, where what members raise is stored as facts.
 * @param channel the program that writes, as facts name it
 */
export async function connect({
  url,
  masterKeys,
  channel,
  maxConnections = 10,
}: {
  url: string;
  masterKeys: readonly Buffer[];
  channel: string;
  maxConnections?: number;
}): Promise<Database> {
  const keyring = new Keyring(masterKeys);
  const relay: RelayWakeUp = new RelayWakeUp(() => orm);
  const store = new EventStore({ system, channel, keyring, wakeRelay: () => relay.poke() });
  const orm = await database.connect({
    url,
    name: channel,
    entities: [Member, Session, LoginRecord, Canary],
    subscribers: [store],
    pool: { max: maxConnections },
  });
  return { orm, keyring, [Symbol.asyncDispose]: () => orm.close(true) };
}

/**
 * Brings the member system's database up to date.
 * @param ownerUrl of the role that owns it
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
