/** The number of values of the outbox's `partition` column, and so the largest useful number of relays per database. */
export const PARTITIONS = 32;

/** The leases of one database, as one relay sees them. */
export interface Leases {
  /** Number of connected relays, this one included. */
  readonly relays: number;
  /** Partitions that this relay holds. */
  readonly mine: readonly number[];
  /** Partitions that other relays hold. */
  readonly others: readonly number[];
}

/**
 * Computes which partitions a relay releases or acquires to hold its fair share. Each relay decides for itself. Shares are rounded up, so
 * that every partition has a relay and as few as possible move.
 * @param random between 0 and 1: relays start at different partitions, so that they do not compete for the same ones
 * @returns partitions to release (`give`) and free partitions to acquire (`take`)
 */
export function balance({ relays, mine, others }: Leases, random = Math.random()): { give: number[]; take: number[] } {
  const share = Math.ceil(PARTITIONS / Math.max(1, relays));
  const taken = new Set([...mine, ...others]);
  const start = Math.floor(random * PARTITIONS);
  const free = Array.from({ length: PARTITIONS }, (_, i) => (start + i) % PARTITIONS).filter((it) => !taken.has(it));
  return { give: mine.slice(share), take: free.slice(0, Math.max(0, share - mine.length)) };
}
