import type { MikroORM } from '@mikro-orm/postgresql';
import type { Client, QueryConfig } from 'pg';
import type { TestDatabase } from '../support/database.ts';

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly 'Shared Hit Blocks': number;
  readonly 'Shared Read Blocks': number;
  readonly Plans?: readonly PlanNode[];
}

/** What one execution of a statement cost. */
export interface Cost {
  readonly statement: string;
  /** Rows of tables that it looked at, those that a filter removed included. */
  readonly read: number;
  readonly returned: number;
  readonly buffers: number;
  readonly indexes: readonly string[];
  /** Tables that were read from their beginning to their end. */
  readonly scanned: readonly string[];
}

/**
 * Has PostgreSQL send new connections the plan of each statement that it executes, those in functions included.
 * https://www.postgresql.org/docs/current/auto-explain.html
 */
export async function explainStatements({ sql, urls }: TestDatabase): Promise<void> {
  const settings = {
    session_preload_libraries: 'auto_explain',
    'auto_explain.log_min_duration': 0,
    'auto_explain.log_analyze': true,
    'auto_explain.log_buffers': true,
    'auto_explain.log_timing': false,
    'auto_explain.log_nested_statements': true,
    'auto_explain.log_format': 'json',
    'auto_explain.log_level': 'notice',
  };
  const database = new URL(urls.owner).pathname.slice(1);
  for (const [name, value] of Object.entries(settings))
    await sql(`alter database ${database} set ${name} = '${value}'`);
}

/** Any statement without a table. */
const NEXT = 'select';

/** A connection after `explainStatements` that notes the cost of each statement while `isExplaining`. Stands for a relay's lease. */
export class ExplainingLease {
  readonly costs: Cost[] = [];
  isExplaining = true;
  readonly #client: Client;
  readonly #isPrepared: boolean;
  /** By text: the names of prepared statements. */
  readonly #names = new Map<string, string>();
  #plans: { readonly text: string; readonly plan: PlanNode }[] = [];
  #isInTransaction = false;
  /** For statements that read which partitions a relay leases: all. */
  readonly owned = 'select generate_series(0, 31) as partition';

  /** @param isPrepared whether statements are prepared, as by a lease: PostgreSQL keeps their plans */
  constructor(client: Client, isPrepared = false) {
    this.#client = client;
    this.#isPrepared = isPrepared;
    client.on('notice', ({ message = '' }) => {
      const json = /plan:\n(\{.*\})$/s.exec(message)?.[1];
      if (!json) return;
      const { 'Query Text': text, Plan: plan } = JSON.parse(json) as { 'Query Text': string; Plan: PlanNode };
      this.#plans.push({ text, plan });
    });
  }

  tenureOf(): number {
    return 1;
  }

  async query<Row>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    this.#plans = [];
    const { rows } = await this.#client.query(this.#prepared(text, values));
    if (this.isExplaining) {
      // Within a transaction a statement ends when the next one begins.
      await this.#client.query(NEXT);
      // One that calls a function costs what the function's statements cost.
      const nested = this.#plans.filter((it) => it.text !== text && it.text !== NEXT);
      const itself = this.#plans.find((it) => it.text === text)!;
      this.costs.push(
        ...(nested.length > 0 ? nested.map((it) => costOf(it.text, it.plan, [])) : [costOf(text, itself.plan, rows)]),
      );
    }
    return rows as Row[];
  }

  #prepared(text: string, values: readonly unknown[]): QueryConfig {
    if (values.length === 0 || !this.#isPrepared) return { text, values: [...values] };
    const name = this.#names.get(text) ?? `explained-${this.#names.size}`;
    this.#names.set(text, name);
    return { name, text, values: [...values] };
  }

  async transactional<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isInTransaction) return work();
    await this.#client.query('begin');
    this.#isInTransaction = true;
    try {
      return await work();
    } finally {
      this.#isInTransaction = false;
      await this.#client.query('commit');
    }
  }

  /** Throws away the costs so far. */
  reset(): void {
    this.costs.length = 0;
  }
}

/** Returns what eventing uses of MikroORM, on an explaining connection. */
export function explainingOrm(lease: ExplainingLease): MikroORM {
  const connection = {
    execute: (sql: string, params: readonly unknown[] = []) => {
      let count = 0;
      return lease.query(
        sql.replaceAll('?', () => `$${++count}`),
        params,
      );
    },
  };
  const em = {
    fork: () => em,
    getConnection: () => connection,
    getTransactionContext: () => undefined,
    transactional: <T>(work: (tx: unknown) => Promise<T>) => lease.transactional(() => work(em)),
  };
  return { em } as unknown as MikroORM;
}

/** Messages or deliveries of the state under test. */
export const ROWS = 200_000;
/** Filling a table takes a quarter of a minute on a busy machine. Milliseconds. */
export const LIMIT = 240_000;

/** Expects that each statement read by index and not much more than it returned. */
export function expectBounded(costs: readonly Cost[], maxBuffers: number): void {
  expect(costs.length).toBeGreaterThan(0);
  expect(costs.filter(({ scanned }) => scanned.length > 0)).toEqual([]);
  expect(costs.filter(({ read, returned }) => read > 3 * returned + 100)).toEqual([]);
  expect(costs.filter(({ buffers }) => buffers > maxBuffers)).toEqual([]);
}

function costOf(text: string, plan: PlanNode, rows: readonly Record<string, unknown>[]): Cost {
  const nodes = nodesOf(plan);
  const scans = nodes.filter((it) => it['Relation Name']);
  const read = scans.map((it) => {
    const removed = (it['Rows Removed by Filter'] ?? 0) + (it['Rows Removed by Index Recheck'] ?? 0);
    return (it['Actual Rows'] + removed) * it['Actual Loops'];
  });
  // Statements that return one row of arrays.
  const arrays = rows.length === 1 ? Object.values(rows[0]!).filter(Array.isArray) : [];
  return {
    statement: text.trim().split('\n')[0]!.slice(0, 100),
    read: Math.round(read.reduce((sum, it) => sum + it, 0)),
    returned: Math.max(rows.length, plan['Actual Rows'], ...arrays.map(({ length }) => length)),
    buffers: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'],
    indexes: [...new Set(nodes.flatMap((it) => it['Index Name'] ?? []))],
    scanned: scans.filter((it) => it['Node Type'] === 'Seq Scan').map((it) => it['Relation Name']!),
  };
}

const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];
