import fc from 'fast-check';
import { ReadyQueue } from '../../../services/relay/ready-queue.ts';

interface Item {
  readonly id: string;
  readonly orderingKey: string;
  readonly partition: number;
  readonly position: number;
  readonly event: string;
}

const item = (orderingKey: string, position: number, partition = 0): Item => {
  return { id: `${orderingKey}-${position}`, orderingKey, partition, position, event: 'x'.repeat(10) };
};
/** Returns a queue with one message for each letter. */
function queueOf(names: string): ReadyQueue<Item> {
  const queue = new ReadyQueue<Item>();
  for (const [position, key] of [...names].entries()) queue.add(item(key, position));
  return queue;
}
const ids = (messages: readonly Item[]) => messages.map(({ id }) => id);

test('a call holds a key at most once, keys stay in order, and no message is left out', () => {
  const names = fc.string({ unit: fc.constantFrom(...'abcde'), maxLength: 60 });
  // Each step adds a message, takes a call, or answers one of those in flight, with some of its messages refused.
  const steps = fc.array(fc.tuple(fc.nat(20), fc.nat(4), fc.array(fc.boolean())), { maxLength: 200 });
  fc.assert(
    fc.property(names, steps, (letters, plan) => {
      const half = letters.length >> 1;
      const queue = queueOf(letters.slice(0, half));
      const later = [...letters].slice(half).map((key, i) => item(key, half + i));
      const calls: Item[][] = [];
      const accepted: Item[] = [];
      const answer = (call: readonly Item[], refused: readonly boolean[]) => {
        for (const [i, message] of call.entries()) {
          if (refused[i]) queue.requeue(message);
          else {
            queue.accept(message);
            accepted.push(message);
          }
        }
      };
      for (const [size, index, refused] of plan) {
        const added = index === 4 && later.shift();
        if (added) queue.add(added);
        else if (index === 3) calls.push(queue.take(size));
        else if (calls[index]) answer(calls.splice(index, 1)[0]!, refused);
        const inFlight = calls.flat().map(({ orderingKey }) => orderingKey);
        expect(new Set(inFlight).size).toBe(inFlight.length);
      }
      for (const message of later) queue.add(message);
      for (const call of calls) answer(call, []);
      for (let call = queue.take(3); call.length > 0; call = queue.take(3)) answer(call, []);
      for (const key of 'abcde') {
        const positions = accepted.filter(({ orderingKey }) => orderingKey === key).map(({ position }) => position);
        expect(positions).toEqual([...letters].flatMap((letter, i) => (letter === key ? [i] : [])));
      }
      expect([queue.size, queue.bytes, queue.ready]).toEqual([0, 0, 0]);
      for (const { id } of accepted) expect(queue.has(id)).toBe(false);
    }),
  );
});

test('a single key is sent message by message', () => {
  const queue = queueOf('aaa');
  const [first] = queue.take(100);
  expect(queue.take(100)).toEqual([]);
  queue.accept(first!);
  expect(ids(queue.take(100))).toEqual(['a-1']);
});

test('keys take turns: the one that became ready first is next', () => {
  const queue = queueOf('aabbcc');
  const [a] = queue.take(1);
  const [b] = queue.take(1);
  queue.accept(b!);
  queue.accept(a!);
  expect(ids(queue.take(2))).toEqual(['c-4', 'b-3']);
  expect(ids(queue.take(2))).toEqual(['a-1']);
});

test('a message that was committed late goes before the waiting ones of its key', () => {
  const queue = queueOf('zza');
  queue.add(item('z', 0.5));
  expect(ids(queue.heads())).toEqual(['z-0', 'a-2']);
  queue.accept(queue.takeOf('z'));
  expect(queue.heads()).toContainEqual(item('z', 0.5));
});

test('a refused message is dropped with those that follow, and an earlier one is kept', () => {
  const queue = queueOf('-bbb');
  const refused = queue.takeOf('b');
  queue.add(item('b', 0.5));
  queue.drop(refused);
  expect([...queue.idsOf('-'), ...queue.idsOf('b')]).toEqual(['--0', 'b-0.5']);
  expect(ids(queue.heads())).toEqual(['--0', 'b-0.5']);
});

test('a key has a limited number of waiting messages', () => {
  const queue = new ReadyQueue<Item>();
  const added = Array.from({ length: 250 }, (_, position) => queue.add(item('hot', position)));
  expect(added.filter(Boolean)).toHaveLength(200);
  expect([queue.hasRoom('hot'), queue.hasRoom('other')]).toEqual([false, true]);
  expect(queue.add(item('other', 250))).toBe(true);
});

test('a call ends before it exceeds its limit of bytes, but has at least one message', () => {
  const queue = queueOf('abc');
  expect(ids(queue.take(100, 25))).toEqual(['a-0', 'b-1']);
  expect(ids(queue.take(100, 5))).toEqual(['c-2']);
});

test('messages of other partitions are removed, except those in flight', () => {
  const queue = new ReadyQueue<Item>();
  for (const position of [1, 2]) for (const partition of [1, 2]) queue.add(item(`k${partition}`, position, partition));
  queue.takeOf('k1');
  queue.keepOnly((partition) => partition === 2);
  expect([queue.isInFlight(1), queue.isInFlight(2)]).toEqual([true, false]);
  expect([queue.idsOf('k1'), queue.idsOf('k2')]).toEqual([['k1-1'], ['k2-1', 'k2-2']]);
});

test('trimming keeps the first messages of keys', () => {
  const queue = queueOf('ababab');
  expect(ids(queue.trim(4))).toEqual(['b-3', 'b-5']);
  expect(queue.size).toBe(4);
});
