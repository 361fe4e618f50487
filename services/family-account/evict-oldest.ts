/** Deletes the oldest entry of a map that has more than `maxSize` entries. Call it after each insertion. */
export function evictOldest(map: Map<string, unknown>, maxSize: number): void {
  if (map.size <= maxSize) return;
  const [oldest] = map.keys();
  map.delete(oldest!);
}
