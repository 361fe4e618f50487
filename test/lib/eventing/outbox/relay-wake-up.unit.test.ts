import { AsyncLocalStorage } from 'node:async_hooks';
import { jest } from '@jest/globals';
import type { MikroORM } from '@mikro-orm/postgresql';
import { RelayWakeUp } from '#eventing/outbox';
import { eventually } from '../../../support/eventually.ts';

const execute = jest.fn<(sql: string) => Promise<void>>();
const orm = { em: { getConnection: () => ({ execute }) } } as unknown as MikroORM;

beforeEach(() => {
  jest.useFakeTimers();
  execute.mockReset().mockResolvedValue();
});
afterEach(() => void jest.useRealTimers());

test('the relay is woken after a commit, and by many commits at most every 10 ms', async () => {
  const wakeUp = new RelayWakeUp(() => orm);
  wakeUp.wake();
  expect(execute).toHaveBeenCalledTimes(1);
  for (let i = 0; i < 20; i++) wakeUp.wake();
  await jest.advanceTimersByTimeAsync(9);
  expect(execute).toHaveBeenCalledTimes(1);
  await jest.advanceTimersByTimeAsync(1);
  expect(execute).toHaveBeenCalledTimes(2);
  await jest.advanceTimersByTimeAsync(100);
  expect(execute).toHaveBeenCalledTimes(2);
  wakeUp.wake();
  expect(execute).toHaveBeenCalledTimes(3);
});

test('a wake-up that fails is left to polling, and the next one is sent', async () => {
  const wakeUp = new RelayWakeUp(() => orm);
  execute.mockRejectedValueOnce(new Error('the database cannot be reached'));
  wakeUp.wake();
  await jest.advanceTimersByTimeAsync(10);
  wakeUp.wake();
  expect(execute).toHaveBeenCalledTimes(2);
});

test('a wake-up does not keep the context of the request that caused it', async () => {
  // Fake timers have no context.
  jest.useRealTimers();
  const request = new AsyncLocalStorage<string>();
  const contexts: (string | undefined)[] = [];
  execute.mockImplementation(async () => void contexts.push(request.getStore()));
  const wakeUp = new RelayWakeUp(() => orm);
  request.run('a request', () => {
    wakeUp.wake();
    wakeUp.wake();
  });
  await eventually(() => expect(contexts).toEqual([undefined, undefined]));
});
