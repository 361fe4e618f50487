/**
 * Cuts one page from a list that was read with one entry more than the page holds.
 * @returns the entries, and in `next` the cursor of the next page, if there is one
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
