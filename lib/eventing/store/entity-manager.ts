import { EntityManager } from '@mikro-orm/postgresql';
import { raisedBy } from './domain-event.ts';

/**
 * Flushes raised events before an entity is reloaded. Reloading discards unwritten changes, while their events would still
 * be stored. Pass it to MikroORM as `entityManager`; EventStore rejects any other.
 */
export class EventingEntityManager extends EntityManager {}

/** Methods that overwrite managed entities, some only with `refresh`. All other ways of loading call these. */
const LOADING = {
  find: isRefreshing,
  findOne: isRefreshing,
  merge: isRefreshing,
  refresh: () => true,
  upsert: () => true,
  upsertMany: () => true,
} as const;

type Load = (this: EventingEntityManager, ...args: unknown[]) => unknown;

// Not declared as methods: MikroORM's signatures have a page of type parameters each, which add nothing here.
for (const [name, overwrites] of Object.entries(LOADING)) {
  const load = EntityManager.prototype[name as keyof typeof LOADING] as unknown as Load;
  const loadAfterFlush: Load = function (...args) {
    if (!overwrites(args) || !hasRaised(this)) return load.apply(this, args);
    if (name === 'merge')
      throw new Error('flush before merge with refresh: it would discard changes whose events were raised');
    return this.flush().then(() => load.apply(this, args));
  };
  Object.defineProperty(EventingEntityManager.prototype, name, { value: loadAfterFlush, writable: true });
}

function isRefreshing(args: readonly unknown[]): boolean {
  return args.some((arg) => typeof arg === 'object' && arg !== null && (arg as { refresh?: unknown }).refresh === true);
}

function hasRaised(em: EntityManager): boolean {
  const uow = em.getUnitOfWork();
  return [...uow.getIdentityMap(), ...uow.getPersistStack(), ...uow.getRemoveStack()].some(
    (entity) => raisedBy(entity as object).length > 0,
  );
}
