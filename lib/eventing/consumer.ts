import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from './cloud-event.ts';

/**
 * A handler of events. Its name must be unique in the system's database: by it each effect happens exactly once.
 *
 * - `convergent`: applies events in any order; the effect must not depend on their order.
 * - `ordered`: applies each aggregate's events in sequence, n + 1 only after n. An out-of-order event is deferred; a
 *   failing one holds up its own aggregate only.
 */
export interface Consumer<Read = unknown> {
  readonly name: string;
  readonly order: 'convergent' | 'ordered';
  /** The event types it handles. Others are acknowledged; an ordered consumer advances its cursor past them. */
  readonly types: readonly string[] | 'all';
  /**
   * Reads from other systems, before the transaction, so that no lock is held while they answer.
   * @throws an error with `outage: true` when a dependency cannot be reached: retried indefinitely, spending no attempt
   */
  read?(event: ReceivedEvent): Promise<Read>;
  /**
   * Applies the effect in `em`'s transaction, which also records the event as applied.
   * An error rolls back both; the event is deferred, retried with backoff, and in the end a dead letter that operators see.
   */
  handle(em: EntityManager, event: ReceivedEvent, read: Read): Promise<void>;
}
