import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { WAKE_UP } from '#eventing/outbox';
import type { Log } from '#process/log';
import { balance, type Leases } from './balance.ts';
import { ACQUIRE, openLease, owned, RELEASE, survey } from './lease-queries.ts';

export interface LeaseOptions {
  readonly databaseUrl: string;
  /** Called on a wake-up notification and when partitions were acquired. */
  readonly onWork: () => void;
  readonly log: Log;
}

/** Bounds the time to take over free partitions, and keeps the connection from being ended as idle. */
const REBALANCE_MS = 300;

/** SQLSTATE of a statement that has exceeded `statement_timeout`. */
const QUERY_CANCELED = '57014';
export class SlowStatement extends Error {}

/** Partitions that a batch in progress needs: they are not released before it is disposed of. */
export interface Hold extends Disposable {
  readonly partitions: readonly number[];
  /** Reduces the hold to these partitions. */
  narrow(partitions: Iterable<number>): void;
}

/**
 * One database connection and the partitions that it holds; all relays of the database share the partitions. A relay reads and marks
 * messages only on this connection: after a freeze PostgreSQL has ended it, so the relay cannot act on stale state.
 */
export class Lease implements AsyncDisposable {
  readonly #client: Client;
  readonly #name = randomUUID();
  readonly #options: LeaseOptions;
  readonly #lost = new AbortController();
  readonly #holds = new Set<Set<number>>();
  #partitions: readonly number[] = [];
  readonly #tenures = new Map<number, number>();
  #releasing = new Set<number>();
  #relays = 0;
  #confirmedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Ends with the last queued statement: statements run one after another. */
  #queue: Promise<void> = Promise.resolve();

  private constructor(options: LeaseOptions) {
    this.#options = options;
    this.#client = new Client({
      connectionString: options.databaseUrl,
      application_name: 'relay',
      connectionTimeoutMillis: 5_000,
      // Longer than `statement_timeout`, so that it fires only when the server is unreachable.
      query_timeout: 12_000,
      keepAlive: true,
    });
  }

  /** Connects and acquires the free partitions of its share. @throws when the database is unreachable or read-only */
  static async open(options: LeaseOptions): Promise<Lease> {
    const lease = new Lease(options);
    try {
      await lease.#connect();
      await lease.#rebalance();
      return lease;
    } catch (error) {
      lease.drop(error);
      throw error;
    }
  }

  async #connect(): Promise<void> {
    this.#client.on('error', (error) => this.drop(error));
    this.#client.on('end', () => this.drop(new Error('The connection ended')));
    this.#client.on('notification', () => this.#options.onWork());
    await this.#client.connect();
    await this.#client.query(openLease(this.#name));
    await this.#client.query(`listen ${WAKE_UP}`);
  }

  /** Aborted once the connection has ended: work in progress must stop, because other relays may already do it. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Returns how often this lease has acquired a partition: in between another relay may have had it. */
  tenureOf(partition: number): number {
    return this.#tenures.get(partition) ?? 0;
  }

  /** Milliseconds since the partitions were last read back from PostgreSQL. */
  get ageMs(): number {
    return performance.now() - this.#confirmedAt;
  }

  /** SQL query for the partitions that this connection holds, for statements that must not rely on the process's memory. */
  get owned(): string {
    return owned(this.#name);
  }

  /**
   * Runs a statement on the lease's connection. An error ends the lease, because the outcome of the statement is unknown, except a
   * `SlowStatement`, which PostgreSQL has rolled back.
   */
  async query<Row>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    const previous = this.#queue;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queue = promise;
    await previous;
    try {
      this.lost.throwIfAborted();
      const { rows } = await this.#client.query(text, values as unknown[]);
      return rows as Row[];
    } catch (error) {
      if ((error as { code?: string }).code === QUERY_CANCELED) throw new SlowStatement((error as Error).message);
      this.drop(error);
      throw error;
    } finally {
      resolve();
    }
  }

  /** Holds the current partitions, except those about to be released, until disposed of. */
  hold(): Hold {
    const held = new Set(this.#partitions.filter((it) => !this.#releasing.has(it)));
    const partitions = [...held];
    this.#holds.add(held);
    return {
      partitions,
      narrow: (needed) => {
        const remaining = new Set(needed);
        for (const partition of partitions) if (!remaining.has(partition)) held.delete(partition);
      },
      [Symbol.dispose]: () => void this.#holds.delete(held),
    };
  }

  /** Ends the lease immediately. @param reason becomes the reason of `lost` */
  drop(reason: unknown): void {
    if (this.lost.aborted) return;
    clearTimeout(this.#timer);
    this.#lost.abort(reason);
    // Closes the socket even if a query is stuck; its error adds nothing to `reason`.
    void this.#client.end().catch(() => undefined);
  }

  /** Releases the lease, so that other relays can take over immediately. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.lost.aborted) return;
    clearTimeout(this.#timer);
    await this.#queue;
    const ended = this.#client.end();
    this.#lost.abort(new Error('The lease was released'));
    await ended;
  }

  async #rebalance(): Promise<void> {
    const leases = await this.#survey();
    const { give, take } = balance(leases);
    this.#releasing = new Set(give);
    const unused = give.filter((partition) => ![...this.#holds].some((held) => held.has(partition)));
    if (unused.length > 0) await this.query(RELEASE, [unused]);
    if (take.length > 0) await this.query(ACQUIRE, [take]);
    if (unused.length + take.length > 0) await this.#survey();
    if (take.length > 0) this.#options.onWork();
    if (this.lost.aborted) return;
    this.#timer = setTimeout(() => void this.#rebalance().catch((error) => this.drop(error)), REBALANCE_MS);
  }

  async #survey(): Promise<Leases> {
    const [row] = await this.query<Leases & { isOurs: boolean; isReadOnly: boolean }>(survey(this.#name));
    if (!row?.isOurs)
      throw new Error('A pooler shares this connection among clients: connect directly or in session mode');
    // A former primary, or a full disk: nothing can be marked as sent. A new connection may reach a writable server.
    if (row.isReadOnly) throw Object.assign(new Error('The connection is read-only'), { code: '25006' });
    const { mine, relays } = row;
    if (mine.length !== this.#partitions.length || relays !== this.#relays) {
      this.#options.log.info({ partitions: mine.length, relays }, 'leases rebalanced');
    }
    for (const it of mine) if (!this.#partitions.includes(it)) this.#tenures.set(it, this.tenureOf(it) + 1);
    this.#partitions = mine;
    this.#relays = relays;
    this.#confirmedAt = performance.now();
    return row;
  }
}
