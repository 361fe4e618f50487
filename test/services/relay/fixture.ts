import { Writable } from 'node:stream';
import { pino } from 'pino';
import { DaprPublisher } from '#eventing/dapr-publisher';
import type { RelayOptions } from '../../../services/relay/options.ts';
import { Relay } from '../../../services/relay/relay.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeDaprd } from './fake-daprd.ts';

export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** A database with the eventing tables, a fake daprd, and relays between them. */
export class RelayFixture implements AsyncDisposable {
  readonly database: TestDatabase;
  readonly fakeDaprd: FakeDaprd;
  readonly log: LogLine[] = [];
  readonly #relays = new Set<Relay>();
  readonly #publishers: DaprPublisher[] = [];
  #numbers = new Map<string, number>();

  private constructor(database: TestDatabase, fakeDaprd: FakeDaprd) {
    this.database = database;
    this.fakeDaprd = fakeDaprd;
  }

  static async open(): Promise<RelayFixture> {
    return new RelayFixture(await createTestDatabase('lamp'), await FakeDaprd.open());
  }

  /** Starts a relay in this process, with short delays. */
  relay(options: Partial<RelayOptions> & { timeoutMs?: number } = {}): Relay {
    const publisher = new DaprPublisher({ port: this.fakeDaprd.port, timeoutMs: options.timeoutMs });
    this.#publishers.push(publisher);
    const lines = new Writable({
      write: (line: Buffer, _, done) => {
        this.log.push(JSON.parse(line.toString()) as LogLine);
        done();
      },
    });
    const relay = new Relay({
      databaseUrl: this.database.urls.relay,
      publisher,
      resendAfterSeconds: 300,
      log: pino({ level: 'debug' }, lines),
      backoff: { minMs: 20, maxMs: 200 },
      retryPolicy: { attempts: 5, firstRetrySeconds: 0.002 },
      poll: { minMs: 10, maxMs: 100 },
      resendPauseMs: 100,
      ...options,
    }).start();
    this.#relays.add(relay);
    return relay;
  }

  async stop(relay: Relay): Promise<void> {
    this.#relays.delete(relay);
    await relay[Symbol.asyncDispose]();
  }

  /** Inserts `count` messages of each key into the outbox, alternating between keys. @returns their ids, in that order */
  async fill(keys: readonly string[], count = 1, topic = 'lamp-internal'): Promise<string[]> {
    const rows = Array.from({ length: count }, () => keys.map((key) => this.#row(topic, key))).flat();
    const stored = await this.database.sql<{ id: string }>(
      `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
       select id, gen_random_uuid(), 'internal', topic, key,
         jsonb_build_object('specversion', '1.0', 'id', id, 'source', '/lamp', 'type', 'lamp.lit', 'partitionkey', key, 'n', n)
       from (select gen_random_uuid() as id, row.* from unnest($1::text[], $2::text[], $3::int[]) with ordinality as row(topic, key, n, ord)) given
       order by ord returning id`,
      [rows.map((it) => it.topic), rows.map((it) => it.key), rows.map((it) => it.n)],
    );
    return stored.map(({ id }) => id);
  }

  #row(topic: string, key: string): { topic: string; key: string; n: number } {
    const n = (this.#numbers.get(`${topic} ${key}`) ?? 0) + 1;
    this.#numbers.set(`${topic} ${key}`, n);
    return { topic, key, n };
  }

  /** Notifies the relays of new messages, as services do. */
  async wake(): Promise<void> {
    await this.database.sql(`select pg_notify('eventing_outbox', '')`);
  }

  async count(table: 'outbox' | 'relayed' | 'published', condition = 'true'): Promise<number> {
    const [row] = await this.database.sql<{ count: number }>(
      `select count(*)::int from eventing.${table} where ${condition}`,
    );
    return row!.count;
  }

  /** Waits until the outbox is empty. */
  async waitUntilSent(timeoutMs = 20_000): Promise<void> {
    await eventually(async () => expect(await this.count('outbox')).toBe(0), { timeoutMs });
  }

  /** Checks that each key's messages were first sent in sequence, and that none is missing. */
  expectInOrder(): void {
    for (const [topicAndKey, count] of this.#numbers) {
      const [topic = '', key = ''] = topicAndKey.split(' ');
      const expected = Array.from({ length: count }, (_, i) => i + 1);
      const arrived = this.fakeDaprd.firstArrivals(topic, key);
      expect({ topic, key, arrived }).toEqual({ topic, key, arrived: expected });
    }
  }

  /** Returns the relays' log messages at `warn` and above. */
  warnings(): string[] {
    return this.log.filter(({ level }) => level >= 40).map(({ msg }) => msg);
  }

  /** Stops the relays and deletes all messages, for the next test. */
  async reset(): Promise<void> {
    for (const relay of [...this.#relays]) await this.stop(relay);
    await this.database.sql('truncate eventing.outbox, eventing.relayed, eventing.published');
    this.#numbers = new Map();
    this.log.length = 0;
    this.fakeDaprd.arrivals.length = 0;
    this.fakeDaprd.calls.length = 0;
    this.fakeDaprd.answer = () => 'accept';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const relay of [...this.#relays]) await this.stop(relay);
    for (const publisher of this.#publishers) await publisher[Symbol.asyncDispose]();
    await this.fakeDaprd[Symbol.asyncDispose]();
    await this.database[Symbol.asyncDispose]();
  }
}

export const keys = (count: number): string[] => Array.from({ length: count }, (_, i) => `key-${i}`);
