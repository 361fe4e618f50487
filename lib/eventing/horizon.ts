import type { EntityManager } from '@mikro-orm/postgresql';
import { hasHorizon } from './schema-before.ts';
import { execute } from './sql.ts';

/** Returns the lowest id of an event of which a missing inbox row means that it was not applied. */
export async function inboxReach(em: EntityManager): Promise<string> {
  if (!(await hasHorizon(em))) return '';
  const [row] = await execute<{ id: string }>(em, "select first_id as id from eventing.horizon where name = 'inbox'");
  return row!.id;
}
