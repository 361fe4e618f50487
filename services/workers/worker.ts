import type { MikroORM } from '@mikro-orm/postgresql';
import type { Keyring } from '#eventing/keyring';
import type { Subscriber } from '#eventing/receiver';

/** The resources that a worker receives. */
export interface Resources {
  readonly orm: MikroORM;
  readonly keyring: Keyring;
}

/** Returns a worker's subscribers, by topic. Each worker has its own app-id and so its own consumer group: it fails independently. */
export type Worker = (resources: Resources) => Readonly<Record<string, Subscriber>>;
