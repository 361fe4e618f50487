import type { EntityManager } from '@mikro-orm/postgresql';
import type { z } from 'zod';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { ERASED, type Keyring } from '#eventing/keyring';
import { events } from '#member';

/**
 * Decrypts the attributes of a `member.logged-in` event.
 * @returns undefined when they are erased, because the member has withdrawn since
 * @throws ZodError when they do not match the event's schema
 */
export async function readLogin(
  keyring: Keyring,
  em: EntityManager,
  event: ReceivedEvent,
): Promise<z.output<typeof events.loggedIn.attributes> | undefined> {
  const values = await keyring.reveal(em, event, event.data.attributes);
  return values.sessionNumber === ERASED ? undefined : events.loggedIn.attributes.parse(values);
}
