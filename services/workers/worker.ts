import type { MikroORM } from '@mikro-orm/postgresql';
import type { Subscriber } from '#eventing/dapr-subscriptions';
import type { Keyring } from '#eventing/keyring';

/** What a worker may use. */
export interface Resources {
  readonly orm: MikroORM;
  readonly keyring: Keyring;
}

/** Who hears which topic. One worker is one app-id, and so one consumer group, and fails alone. */
export type Worker = (resources: Resources) => Readonly<Record<string, Subscriber>>;
