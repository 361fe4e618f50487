import { HeldKeys } from '../../../services/relay/held-keys.ts';

const at = (position: number, partition = 1) => ({ id: `message-${position}`, partition, position });

let held: HeldKeys;
beforeEach(() => {
  held = new HeldKeys();
  held.add('k', at(60));
});

test('a held key is read again from a message that was committed late', () => {
  expect(held.startAt('k', 70)).toBe(true);
  expect(held.from('k')).toBe(60);
  expect(held.startAt('k', 50)).toBe(true);
  expect(held.startAt('k', 55)).toBe(true);
  expect(held.from('k')).toBe(50);
  expect(held.startAt('other', 50)).toBe(false);
});

test('a released key forgets its late messages', () => {
  held.startAt('k', 50);
  held.delete('k');
  held.add('k', at(80));
  expect(held.from('k')).toBe(80);
});

test('a key is held at its earliest message', () => {
  held.add('k', at(70));
  expect([held.isBehind('k', 65), held.isBehind('k', 60)]).toEqual([true, false]);
  held.add('k', at(50));
  expect(held.isBehind('k', 60)).toBe(true);
});

test('only the keys of a lost partition are forgotten', () => {
  held.add('other', at(10, 2));
  held.forget(1);
  expect([held.has('k'), held.has('other')]).toEqual([false, true]);
});

test('each held message is looked up in turns, and those that are gone are returned', async () => {
  for (let position = 100; position < 250; position++) held.add(`k-${position}`, at(position));
  const asked: string[][] = [];
  const query = async <Row>(_: string, [ids]: readonly unknown[] = []) => {
    asked.push(ids as string[]);
    return (ids as string[]).filter((id) => id === 'message-240').map((id) => ({ id })) as Row[];
  };
  expect(await held.verify({ query })).toEqual([]);
  expect(await held.verify({ query })).toEqual([['k-240', at(240)]]);
  expect(asked.map(({ length }) => length)).toEqual([100, 51]);
  expect(new Set(asked.flat()).size).toBe(151);
});
