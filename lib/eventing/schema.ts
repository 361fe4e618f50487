import { createEventing } from './migrations/0001-create-eventing.ts';
import { addHearing } from './migrations/0002-add-hearing.ts';
import { addRepair } from './migrations/0003-add-repair.ts';
import { addCanary } from './migrations/0004-add-canary.ts';
import { addSubscribers } from './migrations/0005-add-subscribers.ts';
import { addConflicts } from './migrations/0006-add-conflicts.ts';
import { lowerCaseIds } from './migrations/0007-lower-case-ids.ts';
import { addRelayIndexes } from './migrations/0008-add-relay-indexes.ts';
import { addOperatorActions } from './migrations/0009-add-operator-actions.ts';
import { partitionInboxAndPublished } from './migrations/0010-partition-inbox-and-published.ts';
import { addAppend } from './migrations/0011-add-append.ts';
import { addReceiveAndConfirm } from './migrations/0012-add-receive-and-confirm.ts';

/**
 * Returns the migrations of schema `eventing` for one system's database, oldest first. List them before the system's own.
 *
 * @param roles prefix of the system's existing database roles: `<roles>_app`, `_relay`, `_housekeeping`, `_readonly`
 * @throws Error when `roles` is not a valid prefix
 */
export function eventingMigrations({ roles }: { roles: string }) {
  if (!/^[a-z][a-z0-9_]*$/.test(roles)) throw new Error(`Invalid prefix of role names: ${JSON.stringify(roles)}`);
  return [
    { name: 'Eventing0001Create', class: createEventing(roles) },
    { name: 'Eventing0002Hearing', class: addHearing(roles) },
    { name: 'Eventing0003Repair', class: addRepair(roles) },
    { name: 'Eventing0004Canary', class: addCanary(roles) },
    { name: 'Eventing0005Subscribers', class: addSubscribers(roles) },
    { name: 'Eventing0006Conflicts', class: addConflicts(roles) },
    { name: 'Eventing0007LowerCaseIds', class: lowerCaseIds() },
    { name: 'Eventing0008RelayIndexes', class: addRelayIndexes() },
    { name: 'Eventing0009OperatorActions', class: addOperatorActions(roles) },
    { name: 'Eventing0010Partitions', class: partitionInboxAndPublished(roles) },
    { name: 'Eventing0011Append', class: addAppend(roles) },
    { name: 'Eventing0012ReceiveAndConfirm', class: addReceiveAndConfirm(roles) },
  ];
}
