import type { Lease } from '../../../services/relay/lease.ts';
import { Marker, MOST_UNMARKED } from '../../../services/relay/marker.ts';

let locked: string[];
let partitions: number[];
let marked: string[][];
let unmarked: Map<string, string>;
let marker: Marker;
beforeEach(() => {
  [locked, partitions, marked, unmarked] = [[], [1, 2], [], new Map([['earlier', 'k']])];
  const query = async (_: string, [ids]: readonly unknown[]) => {
    marked.push(ids as string[]);
    return [{ locked, partitions }];
  };
  marker = new Marker({ query, owned: '' } as unknown as Lease, unmarked, 300, () => undefined);
});

const add = (id: string, partition: number) => marker.add({ id, orderingKey: `key-${id}`, partition });

test('accepted messages are marked together with those of earlier leases, and are forgotten then', async () => {
  for (const id of ['a', 'b']) add(id, 1);
  expect([...unmarked.keys()]).toEqual(['earlier', 'a', 'b']);
  expect([marker.hasAny, marker.needs(1), marker.needs(2)]).toEqual([true, true, false]);
  await marker.mark();
  expect(marked).toEqual([['earlier', 'a', 'b']]);
  expect(unmarked.size).toBe(0);
  expect([marker.hasAny, marker.needs(1)]).toEqual([false, false]);
});

test('a locked message is remembered, and tried again with the next ones', async () => {
  locked = ['a'];
  add('a', 1);
  await marker.mark();
  expect([...unmarked.keys()]).toEqual(['a']);
  expect([marker.hasAny, marker.needs(1)]).toEqual([false, false]);
  locked = [];
  add('b', 1);
  await marker.mark();
  expect(marked.at(-1)).toEqual(['a', 'b']);
  expect(unmarked.size).toBe(0);
});

test('a message that is accepted while others are marked is marked next', async () => {
  add('a', 1);
  const marking = marker.mark();
  add('b', 2);
  await marking;
  expect([...unmarked.keys()]).toEqual(['b']);
  expect([marker.needs(1), marker.needs(2)]).toEqual([false, true]);
});

test('marking fails when PostgreSQL says that a partition is not leased any more', async () => {
  add('a', 3);
  await expect(marker.mark()).rejects.toThrow('Partition 3 is not leased any more');
});

test('marking is due with many messages, or when the first one has waited', () => {
  let count = 0;
  while (!marker.isDue && count < 10_000) add(`m-${count++}`, 1);
  expect(count).toBeGreaterThan(100);
  expect(marker.isFull).toBe(false);
  while (count < MOST_UNMARKED) add(`m-${count++}`, 1);
  expect(marker.isFull).toBe(true);
  marker.forget();
  expect([marker.isFull, unmarked.size]).toEqual([false, 1 + MOST_UNMARKED]);
});
