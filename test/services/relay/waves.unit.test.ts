import fc from 'fast-check';
import { fullWaves, waves } from '../../../services/relay/waves.ts';

const batches = fc
  .array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 60 })
  .map((names) => names.map((orderingKey, n) => ({ orderingKey, n })));

test('a wave holds a key at most once, keys stay in order, and no message is left out', () => {
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

test('small last waves wait for a new claim if there are more messages, and are sent if not', () => {
  const batch = [...'abcdaabbaaa'].map((orderingKey) => ({ orderingKey }));
  expect(fullWaves(batch, true).map((wave) => wave.length)).toEqual([4, 2, 2]);
  expect(fullWaves(batch, false).map((wave) => wave.length)).toEqual([4, 2, 2, 1, 1, 1]);
});

test('held-back messages are always the last ones of their keys', () => {
  fc.assert(
    fc.property(batches, (batch) => {
      const sent = fullWaves(batch, true).flat();
      const all = waves(batch).flat();
      expect(all.slice(0, sent.length)).toEqual(sent);
    }),
  );
});

test('a single key is sent message by message', () => {
  expect(fullWaves([{ orderingKey: 'a' }, { orderingKey: 'a' }], true)).toHaveLength(2);
});
