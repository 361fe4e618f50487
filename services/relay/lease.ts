import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { WAKE_UP } from '#eventing/outbox';
import type { Log } from '#service/log';
import { balance, type Leases } from './balance.ts';
import { GIVE, openLease, owned, survey, TAKE } from './lease-queries.ts';

export interface LeaseOptions {
  readonly databaseUrl: string;
  /** Called when rows were announced, and when partitions were added. */
  readonly onWork: () => void;
  readonly log: Log;
}

/** Takes over within this, and says often enough that we are not frozen. */
const REBALANCE_MS = 300;

/** Partitions that a batch in work needs: they are not given away before it is done. */
export interface Hold extends Disposable {
  readonly partitions: readonly number[];
  /** From now on only these, of those held. */
  narrow(partitions: Iterable<number>): void;
}

/**
 * One connection and the partitions it has a lease on, shared out among all relays of the database. Whatever a relay reads or marks
 * goes over this very connection: one that was frozen finds it ended, and can do nothing with what it still knows.
 */
export class Lease implements AsyncDisposable {
  readonly #client: Client;
  readonly #name = randomUUID();
  readonly #options: LeaseOptions;
  readonly #lost = new AbortController();
  readonly #holds = new Set<Set<number>>();
  #partitions: readonly number[] = [];
  #leaving = new Set<number>();
  #relays = 0;
  #seenAt = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Statements run one after the other. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(options: LeaseOptions) {
    this.#options = options;
    this.#client = new Client({
      connectionString: options.databaseUrl,
      application_name: 'relay',
      connectionTimeoutMillis: 5_000,
      // More than the server's own limit, so that it is felt only when the server cannot be reached.
      query_timeout: 12_000,
      keepAlive: true,
    });
  }

  /** Connects and takes what is free of its share. @throws when the database is not there */
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
    this.#client.on('end', () => this.drop(new Error('The connection has ended')));
    this.#client.on('notification', () => this.#options.onWork());
    await this.#client.connect();
    await this.#client.query(openLease(this.#name));
    await this.#client.query(`listen ${WAKE_UP}`);
  }

  /** Aborted once the connection is gone: whatever began under it ends, and may be done by others already. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Milliseconds since PostgreSQL last confirmed the partitions. */
  get ageMs(): number {
    return performance.now() - this.#seenAt;
  }

  /** A query, as SQL, that gives the partitions this connection has a lease on, for statements that must not trust our memory. */
  get owned(): string {
    return owned(this.#name);
  }

  /** Runs a statement on the lease's connection. A failure, whatever it is, ends the lease: what was done is not known then. */
  async query<Row>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    const turn = this.#turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#turn = promise;
    await turn;
    try {
      this.lost.throwIfAborted();
      const { rows } = await this.#client.query(text, values as unknown[]);
      return rows as Row[];
    } catch (error) {
      this.drop(error);
      throw error;
    } finally {
      resolve();
    }
  }

  /** Keeps what we have, but for what we are about to give away, until disposed of. */
  hold(): Hold {
    const held = new Set(this.#partitions.filter((it) => !this.#leaving.has(it)));
    const partitions = [...held];
    this.#holds.add(held);
    return {
      partitions,
      narrow: (needed) => {
        const kept = new Set(needed);
        for (const partition of partitions) if (!kept.has(partition)) held.delete(partition);
      },
      [Symbol.dispose]: () => void this.#holds.delete(held),
    };
  }

  /** Ends the lease at once, for the reason given. */
  drop(reason: unknown): void {
    if (this.lost.aborted) return;
    clearTimeout(this.#timer);
    this.#lost.abort(reason);
    // Ends the socket too when a query is stuck; that it could not say goodbye is no news.
    void this.#client.end().catch(() => undefined);
  }

  /** Gives the lease back, so that others can go on at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.lost.aborted) return;
    clearTimeout(this.#timer);
    await this.#turn;
    const ended = this.#client.end();
    this.#lost.abort(new Error('The lease was given back'));
    await ended;
  }

  async #rebalance(): Promise<void> {
    const leases = await this.#survey();
    const { give, take } = balance(leases);
    this.#leaving = new Set(give);
    const free = give.filter((partition) => ![...this.#holds].some((held) => held.has(partition)));
    if (free.length > 0) await this.query(GIVE, [free]);
    if (take.length > 0) await this.query(TAKE, [take]);
    if (free.length + take.length > 0) await this.#survey();
    if (take.length > 0) this.#options.onWork();
    if (this.lost.aborted) return;
    this.#timer = setTimeout(() => void this.#rebalance().catch((error) => this.drop(error)), REBALANCE_MS);
  }

  async #survey(): Promise<Leases> {
    const [row] = await this.query<Leases & { isOurs: boolean }>(survey(this.#name));
    if (!row?.isOurs) throw new Error('A pooler shares this connection among clients: leases need one of their own');
    const { mine, relays } = row;
    if (mine.length !== this.#partitions.length || relays !== this.#relays) {
      this.#options.log.info({ partitions: mine.length, relays }, 'leases');
    }
    this.#partitions = mine;
    this.#relays = relays;
    this.#seenAt = performance.now();
    return row;
  }
}
