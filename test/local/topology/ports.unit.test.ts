import { createServer } from 'node:net';
import { takePorts } from '../../../local/topology/ports.ts';

test('two concurrent runs never choose the same ports', async () => {
  await using one = await takePorts();
  await using two = await takePorts();
  const chosen = await Promise.all(Array.from({ length: 50 }, (_, i) => (i % 2 ? one : two).next()));
  expect(new Set(chosen).size).toBe(50);
});

test('a preferred port is given once if free, and a later request gets another', async () => {
  await using ports = await takePorts();
  const preferred = await ports.next();
  const given = await Promise.all([ports.next(preferred), ports.next(preferred)]);
  expect(given[0]).toBe(preferred);
  expect(given[1]).not.toBe(preferred);
});

test('a preferred port that is in use is reported, and another one is given', async () => {
  const taken: number[] = [];
  await using ports = await takePorts((port) => taken.push(port));
  const preferred = await ports.next();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(preferred, '127.0.0.1', resolve));
  expect(await ports.next(preferred)).not.toBe(preferred);
  expect(taken).toEqual([preferred]);
  await new Promise((resolve) => server.close(resolve));
});
