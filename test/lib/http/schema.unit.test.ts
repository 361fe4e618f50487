import { z } from 'zod';
import { email, text, timestamp, uuid, wholeNumber } from '#http/schema';

const name = text({ min: 2, max: 5 });

test('a text is counted in code points and normalised', () => {
  expect(name.parse('😀😀😀😀😀')).toBe('😀😀😀😀😀');
  expect(name.safeParse('😀😀😀😀😀😀').success).toBe(false);
  expect(name.parse('e\u0301e\u0301')).toBe('éé');
  expect(name.parse('권용근')).toBe('권용근');
});

test.each([
  ['half a surrogate pair', 'ab\ud800'],
  ['NUL', 'ab\u0000'],
  ['a line break', 'a\nb'],
  ['a right-to-left override', 'ab\u202e'],
  ['leading white space', ' ab'],
  ['trailing white space', 'ab\u00a0'],
  ['only invisible characters', '\u200b\u200b'],
  ['too few characters', 'a'],
  ['too many characters', 'abcdef'],
  ['another type', 12],
])('a text with %s is refused', (_, value) => {
  expect(name.safeParse(value).success).toBe(false);
});

test('a password may begin and end with white space', () => {
  expect(text({ max: 9, outerSpaces: true }).parse(' open ')).toBe(' open ');
});

test('the limits of a text are in its JSON Schema, beside its description', () => {
  expect(z.toJSONSchema(name.meta({ description: 'A name' }))).toMatchObject({
    type: 'string',
    minLength: 2,
    maxLength: 5,
    description: 'A name',
  });
});

test('addresses and ids are converted to lower case', () => {
  expect(email().parse('Kim@Example.COM')).toBe('kim@example.com');
  expect(uuid().parse('0198D7A2-0000-7000-8000-00000000000A')).toBe('0198d7a2-0000-7000-8000-00000000000a');
});

test.each([
  ['an empty string', ''],
  ['a name alone', 'kim'],
  ['an address without a domain', 'kim@'],
  ['an address whose domain has no dot', 'kim@example'],
  ['an address with a space', 'k im@example.com'],
  ['an address that is too long', `${'k'.repeat(250)}@example.com`],
  ['an address with U+0000', 'kim@example.com\u0000'],
])('%s is not an e-mail address', (_, value) => expect(email().safeParse(value).success).toBe(false));

test('a huge string is refused within a second', () => {
  const started = performance.now();
  expect(email().safeParse('a.'.repeat(125_000)).success).toBe(false);
  expect(name.safeParse('e\u0301'.repeat(125_000)).success).toBe(false);
  expect(performance.now() - started).toBeLessThan(1_000);
});

test('a timestamp is written in ISO 8601, from a Date or from text', () => {
  expect(timestamp.parse(new Date(0))).toBe('1970-01-01T00:00:00.000Z');
  expect(timestamp.parse('1970-01-01T00:00:00Z')).toBe('1970-01-01T00:00:00Z');
  expect(timestamp.safeParse(0).success).toBe(false);
});

describe('A whole number in a query', () => {
  const schema = wholeNumber({ min: 1, max: 100 });
  test.each(['1', '100', '007'])('accepts %j', (value) => {
    expect(schema.parse(value)).toBe(Number(value));
  });
  test.each([
    ['', 'is not a whole number'],
    [' 1', 'is not a whole number'],
    ['1e1', 'is not a whole number'],
    ['0x1', 'is not a whole number'],
    ['-1', 'is not a whole number'],
    ['1.5', 'is not a whole number'],
    ['1'.repeat(16), 'is not a whole number'],
    [['1', '2'], 'is not a whole number'],
    ['0', 'is less than 1'],
    ['101', 'is more than 100'],
  ])('refuses %j: it %s', (value, message) => {
    expect(schema.safeParse(value).error?.issues.map((issue) => issue.message)).toEqual([message]);
  });
  test('is described as an integer', () => {
    expect(z.toJSONSchema(schema, { io: 'input' })).toMatchObject({ type: 'integer', minimum: 1, maximum: 100 });
  });
});
