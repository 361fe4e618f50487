import type { TestDatabase } from './database.ts';

/** Records messages as published, as the recorder does once it has received them. */
export async function confirm({ sql }: Pick<TestDatabase, 'sql'>, ...ids: readonly string[]): Promise<void> {
  const messages = ids.map((id) => ({ id, is_verified: true }));
  await sql('select eventing.confirm_1($1::jsonb)', [JSON.stringify(messages)]);
}
