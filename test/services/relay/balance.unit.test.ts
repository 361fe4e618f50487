import fc from 'fast-check';
import { balance, PARTITIONS } from '../../../services/relay/balance.ts';

const all = Array.from({ length: PARTITIONS }, (_, i) => i);

test('a relay alone takes everything', () => {
  expect(balance({ relays: 1, mine: [], others: [] }).take.sort((a, b) => a - b)).toEqual(all);
});

test('a second relay is given half', () => {
  expect(balance({ relays: 2, mine: all, others: [] })).toEqual({ give: all.slice(16), take: [] });
});

test('whatever relays come and go, after each has looked a few times every partition has one holder and no share is unfair', () => {
  const comings = fc.array(fc.record({ relays: fc.integer({ min: 1, max: 40 }), keep: fc.nat() }), { maxLength: 8 });
  fc.assert(
    fc.property(comings, fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })), (changes, random) => {
      let holders: number[][] = [[]];
      for (const { relays, keep } of changes) {
        const survivors = holders.filter((_, i) => (keep >> i) % 2 === 1);
        holders = Array.from({ length: relays }, (_, i) => survivors[i] ?? []);
        settle(holders, random);
        expect(holders.flat().sort((a, b) => a - b)).toEqual(all);
        expect(Math.max(...holders.map(({ length }) => length))).toBeLessThanOrEqual(Math.ceil(PARTITIONS / relays));
      }
    }),
  );
});

/** Each looks and acts in turn, four times. */
function settle(holders: number[][], random: Iterator<number>): void {
  for (let turn = 0; turn < 4; turn++) {
    for (const [me, mine] of holders.entries()) {
      const others = holders.filter((_, i) => i !== me).flat();
      const { give, take } = balance({ relays: holders.length, mine, others }, random.next().value);
      expect(take.filter((it) => others.includes(it))).toEqual([]);
      holders[me] = [...mine.filter((it) => !give.includes(it)), ...take];
    }
  }
}
