import { jest } from '@jest/globals';
import type { MikroORM } from '@mikro-orm/postgresql';
import { RelayWakeUp } from '#eventing/outbox';

const execute = jest.fn<(sql: string) => Promise<void>>();
const orm = { em: { getConnection: () => ({ execute }) } } as unknown as MikroORM;

beforeEach(() => {
  jest.useFakeTimers();
  execute.mockReset().mockResolvedValue();
});
afterEach(() => void jest.useRealTimers());

test('the relay is woken at once, and by many commits at most every 10 ms', async () => {
  const wakeUp = new RelayWakeUp(() => orm);
  wakeUp.wake();
  expect(execute).toHaveBeenCalledTimes(1);
  for (let i = 0; i < 20; i++) wakeUp.wake();
  expect(execute).toHaveBeenCalledTimes(1);
  await jest.advanceTimersByTimeAsync(10);
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
