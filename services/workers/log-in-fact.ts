import type { EntityManager } from '@mikro-orm/postgresql';
import type { z } from 'zod';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { ERASED, type Keyring } from '#eventing/keyring';
import { events } from '#member';

/**
 * What the fact of a log-in says, in the clear; undefined when the member has withdrawn since and it is erased.
 * @throws ZodError when it is not what the fact's declaration says
 */
export async function readLogIn(
  keyring: Keyring,
  em: EntityManager,
  event: ReceivedEvent,
): Promise<z.output<typeof events.loggedIn.attributes> | undefined> {
  const values = await keyring.reveal(em, event, event.data.attributes);
  return values.sessionNumber === ERASED ? undefined : events.loggedIn.attributes.parse(values);
}
