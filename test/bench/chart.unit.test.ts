import { chart } from '../../bench/chart.ts';
import type { Group } from '../../bench/report.ts';

const row = { median: 50, min: 40, max: 60, details: {} };
const group: Group = {
  title: 'writes & reads',
  unit: 'a second',
  base: 'floor',
  peers: ['another product'],
  rows: [
    { ...row, name: 'floor', median: 100, min: 100, max: 100, ratio: 1 },
    { ...row, name: 'ours <here>', ratio: 0.5, aim: 0.8 },
    { ...row, name: 'another product', ratio: 0.5 },
  ],
};
const svg = chart({ part: 'write', groups: [group] }, 'light');

/** Returns the values of an attribute of all elements with this name. */
const valuesOf = (element: string, attribute: string): string[] =>
  [...svg.matchAll(new RegExp(`<${element} [^>]*\\b${attribute}="([^"]*)"`, 'g'))].map(([, value]) => value!);

test('bars are as long as their values, the longest fills the width', () => {
  expect(valuesOf('rect', 'width').slice(1)).toEqual(['330', '165', '165']);
});

test('floor, own rows and other products have different colours', () => {
  expect(new Set(valuesOf('rect', 'fill').slice(1)).size).toBe(3);
});

test('a row has its range and its aim', () => {
  expect(valuesOf('path', 'd')).toEqual(['M532 91H598', 'M664 80v22', 'M532 117H598']);
});

test('names are escaped, and the description has all figures', () => {
  expect(svg).toContain('ours &lt;here&gt;');
  expect(svg).toContain('writes &amp; reads');
  expect(svg).toMatch(
    /<desc[^>]*>floor: 100 a second; ours &lt;here&gt;: 50 a second; another product: 50 a second<\/desc>/,
  );
});

test('an aim beyond the longest bar is inside the picture', () => {
  const far = chart(
    { part: 'p', groups: [{ ...group, rows: [group.rows[0]!, { ...group.rows[1]!, aim: 4 }] }] },
    'light',
  );
  expect(far).toContain('M730 ');
});

test('the dark picture differs in colours only', () => {
  const dark = chart({ part: 'write', groups: [group] }, 'dark');
  expect(dark).not.toBe(svg);
  const plain = (text: string) => text.replaceAll(/#[0-9a-f]{6}/g, '#');
  expect(plain(dark)).toBe(plain(svg));
});
