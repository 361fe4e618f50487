import type { BulkEntry } from '#eventing/dapr-publisher';

/** The fields of an outbox message that the relay needs. */
export interface Message {
  readonly id: string;
  readonly orderingKey: string;
  readonly partition: number;
  /** The CloudEvent, as JSON text. */
  readonly event: string;
}

/**
 * Cuts a batch of one topic into waves. A wave holds at most one message per key; a key's messages are in successive waves. Bulk publishing
 * keeps no order, so a wave is sent only after the result of the one before.
 * @param batch each key's messages in the order in which they must be published
 */
export function waves<M extends Pick<Message, 'orderingKey'>>(batch: readonly M[]): M[][] {
  const depth = new Map<string, number>();
  const result: M[][] = [];
  for (const message of batch) {
    const wave = depth.get(message.orderingKey) ?? 0;
    depth.set(message.orderingKey, wave + 1);
    result[wave] ??= [];
    result[wave].push(message);
  }
  return result;
}

/**
 * Returns the waves that are worth sending before the next claim. The last waves of a batch hold few keys and cost as much as full ones;
 * if the outbox holds more messages, a new claim fills them.
 * @param hasMore whether the outbox may hold more messages
 */
export function fullWaves<M extends Pick<Message, 'orderingKey'>>(batch: readonly M[], hasMore: boolean): M[][] {
  const all = waves(batch);
  const enough = (all[0]?.length ?? 0) / 2;
  return hasMore ? all.filter((wave) => wave.length >= enough) : all;
}

/** Converts a message to an entry of a bulk publish call. */
export const entry = ({ id, orderingKey, event }: Message): BulkEntry => ({
  entryId: id,
  event,
  metadata: { partitionKey: orderingKey },
});
