import type { Pool, QueryResult } from 'pg';

/**
 * Lets `commit` fail if a statement of the transaction had failed and its error was swallowed. PostgreSQL rolls back then, and reports no
 * error: the work would count as done. https://www.postgresql.org/docs/current/sql-commit.html
 */
export function refuseLostCommits(pool: Pool): void {
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...args: unknown[]) => Promise<QueryResult>;
    const checked = (...args: unknown[]) =>
      args[0] === 'commit' ? query(...args).then(refuseRollback) : query(...args);
    client.query = checked as typeof client.query;
  });
}

function refuseRollback(result: QueryResult): QueryResult {
  if (result.command !== 'ROLLBACK') return result;
  const message = 'The transaction was rolled back: one of its statements had failed, and the error was ignored';
  throw Object.assign(new Error(message), { code: '25P02' });
}
