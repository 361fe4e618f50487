import type { BulkEntry } from '#eventing/dapr-publisher';

/** The fields of an outbox message that the relay needs. */
export interface Message {
  readonly id: string;
  readonly orderingKey: string;
  readonly partition: number;
  /** The CloudEvent, as JSON text. */
  readonly event: string;
}

/** A message that can be sent, with its place in the outbox. */
export interface OutboxMessage extends Message {
  readonly position: number;
}

/** Converts a message to an entry of a bulk publish call. */
export const entry = ({ id, orderingKey, event }: Message): BulkEntry => ({
  entryId: id,
  event,
  metadata: { partitionKey: orderingKey },
});
