import type { z } from 'zod';

/** Returns the response body of a path of the system's API. */
export type Get = (path: string) => Promise<string>;

/**
 * Reads what an older API may lack.
 * @returns the body; undefined if the API, of the previous release, has no such route; or why it cannot be read
 */
export async function ask<T>(get: Get, path: string, schema: z.ZodType<T>): Promise<T | undefined | Error> {
  try {
    const { success, data } = schema.safeParse(JSON.parse(await get(path)));
    return success ? data : new Error(`GET ${path} returned an unexpected body`);
  } catch (error) {
    const { message } = error as Error;
    return / answered 404: .*no-such-route/.test(message) ? undefined : new Error(message);
  }
}

/** For example `1 gap` or `at least 2 gaps`. @param hasMore whether there may be more than these */
export function count(items: readonly unknown[], noun: string, hasMore = false): string {
  const { length } = items;
  return `${hasMore ? 'at least ' : ''}${length} ${noun}${length === 1 ? '' : 's'}`;
}
