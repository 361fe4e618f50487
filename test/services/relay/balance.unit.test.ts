import fc from 'fast-check';
import { balance, PARTITIONS } from '../../../services/relay/balance.ts';

const all = Array.from({ length: PARTITIONS }, (_, i) => i);

test('a single relay takes all partitions', () => {
  expect(balance({ relays: 1, mine: [], others: [] }).take.sort((a, b) => a - b)).toEqual(all);
});

test('the first relay gives half to a second one', () => {
  expect(balance({ relays: 2, mine: all, others: [] })).toEqual({ give: all.slice(16), take: [] });
});

test('every partition has one holder and shares are even after relays start and stop', () => {
  const change = fc.record({ relays: fc.integer({ min: 1, max: 40 }), surviving: fc.nat() });
  const changes = fc.array(change, { maxLength: 8 });
  fc.assert(
    fc.property(changes, fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })), (plan, random) => {
      let holders: number[][] = [[]];
      for (const { relays, surviving } of plan) {
        const survivors = holders.filter((_, i) => (surviving >> i) % 2 === 1);
        holders = Array.from({ length: relays }, (_, i) => survivors[i] ?? []);
        settle(holders, random);
        expect(holders.flat().sort((a, b) => a - b)).toEqual(all);
        expect(Math.max(...holders.map(({ length }) => length))).toBeLessThanOrEqual(Math.ceil(PARTITIONS / relays));
      }
    }),
  );
});

/** Lets each relay rebalance in turn, four times. */
function settle(holders: number[][], random: Iterator<number>): void {
  for (let turn = 0; turn < 4; turn++) {
    for (const [self, mine] of holders.entries()) {
      const others = holders.filter((_, i) => i !== self).flat();
      const { give, take } = balance({ relays: holders.length, mine, others }, random.next().value);
      expect(take.filter((it) => others.includes(it))).toEqual([]);
      holders[self] = [...mine.filter((it) => !give.includes(it)), ...take];
    }
  }
}
