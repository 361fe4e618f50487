/** As many as the outbox's `partition` has values; the relays of one database cannot be more. */
export const PARTITIONS = 32;

/** What a relay sees of the leases of its database. */
export interface Leases {
  /** Relays that are connected, this one included. */
  readonly relays: number;
  readonly mine: readonly number[];
  readonly others: readonly number[];
}

/**
 * What a relay does about its leases to have its fair share: gives away what is beyond it, or takes what nobody has. Every relay
 * decides for itself; shares are rounded up, so that all partitions find a relay, and no more change hands than must.
 * @param random between 0 and 1; relays start at different partitions, so that they do not ask for the same ones
 */
export function balance({ relays, mine, others }: Leases, random = Math.random()): { give: number[]; take: number[] } {
  const share = Math.ceil(PARTITIONS / Math.max(1, relays));
  const taken = new Set([...mine, ...others]);
  const start = Math.floor(random * PARTITIONS);
  const free = Array.from({ length: PARTITIONS }, (_, i) => (start + i) % PARTITIONS).filter((it) => !taken.has(it));
  return { give: mine.slice(share), take: free.slice(0, Math.max(0, share - mine.length)) };
}
