import type { Client } from 'pg';

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

/** A relay's connection that notes the cost of each statement while `isExplaining`. */
export class ExplainingLease {
  readonly costs: Cost[] = [];
  isExplaining = true;
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  tenureOf(): number {
    return 1;
  }

  async query<Row>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    if (!this.isExplaining) return (await this.#client.query(text, values as unknown[])).rows as Row[];
    await this.#client.query('begin');
    const { rows } = await this.#client.query(`explain (analyze, buffers, format json) ${text}`, values as unknown[]);
    // Writes must not happen twice.
    await this.#client.query('rollback');
    const result = await this.#client.query(text, values as unknown[]);
    this.costs.push(costOf(text, rows[0]['QUERY PLAN'][0].Plan, result.rows));
    return result.rows as Row[];
  }

  /** Throws away the costs so far. */
  reset(): void {
    this.costs.length = 0;
  }
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
    returned: Math.max(rows.length, ...arrays.map(({ length }) => length)),
    buffers: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'],
    indexes: [...new Set(nodes.flatMap((it) => it['Index Name'] ?? []))],
    scanned: scans.filter((it) => it['Node Type'] === 'Seq Scan').map((it) => it['Relation Name']!),
  };
}

const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];
