/**
 * One page of a list, from one entry more than it holds.
 * @returns the entries, and as `next` where the next page begins, if there is one
 */
export function page<T, Cursor>(
  entries: readonly T[],
  limit: number,
  cursorOf: (entry: T) => Cursor,
): { entries: readonly T[]; next?: Cursor } {
  if (entries.length <= limit) return { entries };
  const shown = entries.slice(0, limit);
  return { entries: shown, next: cursorOf(shown.at(-1)!) };
}
