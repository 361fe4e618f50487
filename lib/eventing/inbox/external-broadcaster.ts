import { ALL_TARGETS, externalData, messageOf, type System, topicOf } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { enqueue } from '../outbox/outbox.ts';

/** Creates the consumer of the internal topic that enqueues each event's external message, with the event's sequence. */
export function broadcaster(system: System, name: string): Consumer {
  return {
    name,
    order: 'ordered',
    types: 'all',
    handle: (em, event) =>
      enqueue(
        em,
        'external',
        topicOf(system, 'external'),
        messageOf(event, { target: ALL_TARGETS, data: externalData(system, event) }),
      ),
  };
}
