import { randomUUID } from 'node:crypto';
import { Client, type QueryConfig } from 'pg';
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

/**
 * Intervals of rebalancing. They bound the time to take over free partitions; nothing waits in them without work. The longer one keeps the
 * connection from being ended as idle.
 */
const REBALANCE = { ms: 300, idleMs: 3_000 };
/** Without work for this long a relay is idle. */
const IDLE_AFTER_MS = 5_000;

/** SQLSTATE of a statement that has exceeded `statement_timeout`. */
const QUERY_CANCELED = '57014';
export class SlowStatement extends Error {}

type Partitions = Pick<ReadonlySet<number>, 'has'>;

/**
 * One database connection and the partitions that it holds; all relays of the database share the partitions. A relay reads and marks
 * messages only on this connection: after a freeze PostgreSQL has ended it, so the relay cannot act on stale state.
 */
export class Lease implements AsyncDisposable {
  readonly #client: Client;
  readonly #name = randomUUID();
  readonly #options: LeaseOptions;
  readonly #lost = new AbortController();
  readonly #inUse = new Set<Partitions>();
  #held: readonly number[] = [];
  #releasing: readonly number[] = [];
  #partitions: ReadonlySet<number> = new Set();
  readonly #tenures = new Map<number, number>();
  #relays = 0;
  #confirmedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  /** By text: the names of prepared statements. */
  readonly #names = new Map<string, string>();
  #workedAt = performance.now();
  #isRebalancing = false;
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
    this.#client.on('notification', () => {
      this.noteWork();
      this.#options.onWork();
    });
    await this.#client.connect();
    await this.#client.query(openLease(this.#name));
    // Other relays are perhaps idle, and have partitions to give.
    await this.#client.query(`listen ${WAKE_UP}; notify ${WAKE_UP}`);
  }

  /** Aborted once the connection has ended: work in progress must stop, because other relays may already do it. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Partitions whose messages may be sent: those of this lease, except those about to be released. Another set after each change. */
  get partitions(): ReadonlySet<number> {
    return this.#partitions;
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
      const { rows } = await this.#client.query(this.#prepared(text, values));
      return rows as Row[];
    } catch (error) {
      if ((error as { code?: string }).code === QUERY_CANCELED) throw new SlowStatement((error as Error).message);
      this.drop(error);
      throw error;
    } finally {
      resolve();
    }
  }

  /** A statement is planned once per connection: planning takes as long as marking a hundred messages. */
  #prepared(text: string, values: readonly unknown[]): QueryConfig {
    if (values.length === 0) return { text };
    const name = this.#names.get(text) ?? `relay-${this.#names.size}`;
    this.#names.set(text, name);
    return { name, text, values: [...values] };
  }

  /** Rebalances often from now on, because messages wait or relays come and go. */
  noteWork(): void {
    const wasIdle = this.#isIdle;
    this.#workedAt = performance.now();
    if (wasIdle && !this.#isRebalancing) this.#schedule();
  }

  get #isIdle(): boolean {
    return performance.now() - this.#workedAt > IDLE_AFTER_MS;
  }

  /** Releases no partition in use until disposed of. */
  keep(inUse: Partitions): Disposable {
    this.#inUse.add(inUse);
    return { [Symbol.dispose]: () => void this.#inUse.delete(inUse) };
  }

  /** Reads the partitions back from PostgreSQL. */
  async confirm(): Promise<void> {
    await this.#survey();
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
    // Other relays are perhaps idle, and take over.
    await this.query(`notify ${WAKE_UP}`).catch(() => undefined);
    if (this.lost.aborted) return;
    const ended = this.#client.end();
    this.#lost.abort(new Error('The lease was released'));
    await ended;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.lost.aborted) return;
    const ms = this.#isIdle ? REBALANCE.idleMs : REBALANCE.ms;
    this.#timer = setTimeout(() => void this.#rebalance().catch((error) => this.drop(error)), ms);
  }

  async #rebalance(): Promise<void> {
    this.#isRebalancing = true;
    const leases = await this.#survey();
    const { give, take } = balance(leases);
    this.#releasing = give;
    this.#update();
    const unused = give.filter((partition) => !this.#inUse.values().some((it) => it.has(partition)));
    if (unused.length > 0) await this.query(RELEASE, [unused]);
    if (take.length > 0) await this.query(ACQUIRE, [take]);
    if (unused.length + take.length > 0) await this.#survey();
    if (take.length > 0) this.#options.onWork();
    this.#isRebalancing = false;
    this.#schedule();
  }

  #update(): void {
    const partitions = new Set(this.#held).difference(new Set(this.#releasing));
    if (partitions.symmetricDifference(this.#partitions).size > 0) this.#partitions = partitions;
  }

  async #survey(): Promise<Leases> {
    const [row] = await this.query<Leases & { isOurs: boolean; isReadOnly: boolean }>(survey(this.#name));
    if (!row?.isOurs)
      throw new Error('A pooler shares this connection among clients: connect directly or in session mode');
    // A former primary, or a full disk: nothing can be marked as sent. A new connection may reach a writable server.
    if (row.isReadOnly) throw Object.assign(new Error('The connection is read-only'), { code: '25006' });
    const { mine, relays } = row;
    if (mine.length !== this.#held.length || relays !== this.#relays) {
      this.#options.log.info({ partitions: mine.length, relays }, 'leases rebalanced');
    }
    for (const it of mine) if (!this.#held.includes(it)) this.#tenures.set(it, this.tenureOf(it) + 1);
    this.#held = mine;
    this.#update();
    this.#relays = relays;
    this.#confirmedAt = performance.now();
    return row;
  }
}
