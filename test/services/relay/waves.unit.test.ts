import fc from 'fast-check';
import { fullWaves, waves } from '../../../services/relay/waves.ts';

const batches = fc
  .array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 60 })
  .map((names) => names.map((orderingKey, n) => ({ orderingKey, n })));

test('a key is in a wave once at most, its messages follow each other in order, and none is left out', () => {
  fc.assert(
    fc.property(batches, (batch) => {
      const cut = waves(batch);
      for (const wave of cut) expect(new Set(wave.map(({ orderingKey }) => orderingKey)).size).toBe(wave.length);
      for (const key of ['a', 'b', 'c', 'd', 'e']) {
        const ofKey = (it: { orderingKey: string }) => it.orderingKey === key;
        expect(cut.flat().filter(ofKey)).toEqual(batch.filter(ofKey));
      }
      expect(cut.flat()).toHaveLength(batch.length);
    }),
  );
});

test('the last waves, with few keys in them, wait for a new claim when there is more, and go when there is not', () => {
  const batch = [...'abcdaabbaaa'].map((orderingKey) => ({ orderingKey }));
  expect(fullWaves(batch, true).map((wave) => wave.length)).toEqual([4, 2, 2]);
  expect(fullWaves(batch, false).map((wave) => wave.length)).toEqual([4, 2, 2, 1, 1, 1]);
});

test('what is held back of a batch is always the end of each key', () => {
  fc.assert(
    fc.property(batches, (batch) => {
      const sent = fullWaves(batch, true).flat();
      const all = waves(batch).flat();
      expect(all.slice(0, sent.length)).toEqual(sent);
    }),
  );
});

test('one key alone goes message by message', () => {
  expect(fullWaves([{ orderingKey: 'a' }, { orderingKey: 'a' }], true)).toHaveLength(2);
});
