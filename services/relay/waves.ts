/** A message of the outbox, as the relay needs it. */
export interface Message {
  readonly id: string;
  readonly orderingKey: string;
  readonly partition: number;
  /** The CloudEvent, as JSON text. */
  readonly event: string;
}

/**
 * Cuts a batch of one topic into waves: each holds at most one message of a key, and a key's messages follow each other wave by wave.
 * Bulk publishing keeps no order, so a wave goes only when the one before is answered.
 * @param batch in the order in which each key's messages are to be relayed
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
 * The waves worth sending before claiming anew. The late waves of a batch hold few keys and cost as much as a full one; when the outbox
 * holds more, a new claim fills them up.
 */
export function fullWaves<M extends Pick<Message, 'orderingKey'>>(batch: readonly M[], hasMore: boolean): M[][] {
  const all = waves(batch);
  const enough = (all[0]?.length ?? 0) / 2;
  return hasMore ? all.filter((wave) => wave.length >= enough) : all;
}
