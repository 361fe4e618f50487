import { createEventing } from './migrations/0001-create-eventing.ts';
import { addHearing } from './migrations/0002-add-hearing.ts';
import { addRepair } from './migrations/0003-add-repair.ts';
import { addCanary } from './migrations/0004-add-canary.ts';
import { addSubscribers } from './migrations/0005-add-subscribers.ts';

/**
 * The tables of eventing, schema `eventing`, for one system's database.
 *
 * @param roles prefix of the system's database roles, which exist already: `<roles>_app`, `_relay`, `_housekeeping`, `_readonly`
 * @returns the migrations, oldest first, to be listed before the system's own
 */
export function eventingMigrations({ roles }: { roles: string }) {
  if (!/^[a-z][a-z0-9_]*$/.test(roles)) throw new Error(`Not a prefix of role names: ${JSON.stringify(roles)}`);
  return [
    { name: 'Eventing0001Create', class: createEventing(roles) },
    { name: 'Eventing0002Hearing', class: addHearing(roles) },
    { name: 'Eventing0003Repair', class: addRepair(roles) },
    { name: 'Eventing0004Canary', class: addCanary(roles) },
    { name: 'Eventing0005Subscribers', class: addSubscribers(roles) },
  ];
}
