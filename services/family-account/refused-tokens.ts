import { isIPv6 } from 'node:net';
import { DependencyUnavailable, DomainError } from '#process/errors';
import { evictOldest } from './evict-oldest.ts';

/** Refused tokens per network and window. */
const MAX_REFUSED = 40;
const WINDOW_MS = 60_000;
/** Concurrent lookups per network: less than half of the calls that the member client reserves for unknown tokens. */
const MAX_IN_FLIGHT = 20;
const MAX_NETWORKS = 10_000;

interface Count {
  /** Start of the window, milliseconds. */
  readonly since: number;
  refused: number;
  inFlight: number;
}

/**
 * Limits how many invalid tokens of one network are looked up in the member system. Counts are in memory, per replica: a count in the
 * database would cost as much as the lookup.
 */
export class RefusedTokens {
  readonly #now: () => number;
  readonly #counts = new Map<string, Count>();

  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Looks up a token, unless its network has too many refused tokens or too many lookups in flight.
   * @param ip address that the token was sent from
   * @param lookUp returns undefined for an invalid token
   * @returns the result of `lookUp`
   * @throws DomainError `too-many-attempts`, with the seconds until the window ends; DependencyUnavailable `busy`; what `lookUp` throws
   */
  async limit<T>(ip: string, lookUp: () => Promise<T | undefined>): Promise<T | undefined> {
    const count = this.#countOf(networkOf(ip));
    if (count.refused >= MAX_REFUSED) {
      const retryAfterSeconds = Math.max(1, Math.ceil((count.since + WINDOW_MS - this.#now()) / 1_000));
      const message = 'Too many unknown tokens from this address: wait before you send another';
      throw new DomainError('too-many-attempts', message, 'too-many', { retryAfterSeconds });
    }
    if (count.inFlight >= MAX_IN_FLIGHT) {
      const message = 'Too many tokens from this address are being checked: try again';
      throw new DependencyUnavailable('busy', message, { retryAfterSeconds: 1 });
    }
    count.inFlight += 1;
    try {
      const result = await lookUp();
      if (result === undefined) count.refused += 1;
      return result;
    } finally {
      count.inFlight -= 1;
    }
  }

  #countOf(network: string): Count {
    const current = this.#counts.get(network);
    if (current && this.#now() - current.since < WINDOW_MS) return current;
    const count = { since: this.#now(), refused: 0, inFlight: 0 };
    this.#counts.delete(network);
    this.#counts.set(network, count);
    evictOldest(this.#counts, MAX_NETWORKS);
    return count;
  }
}

/** Returns the /64 prefix of an IPv6 address, because one host has a whole /64; an IPv4 address as it is. */
function networkOf(ip: string): string {
  if (!isIPv6(ip)) return ip;
  const [before = [], after = []] = ip.split('::').map((part) => part.split(':').filter(Boolean));
  const zeros = Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...zeros, ...after].slice(0, 4).join(':');
}
