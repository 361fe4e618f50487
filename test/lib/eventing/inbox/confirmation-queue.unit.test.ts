import { jest } from '@jest/globals';
import { ConfirmationQueue } from '../../../../lib/eventing/inbox/confirmation-queue.ts';
import { eventually } from '../../../support/eventually.ts';

const warnings: string[] = [];
const log = { warn: (_: object, message: string) => void warnings.push(message) };
beforeEach(() => {
  warnings.length = 0;
});

const outage = new Error('the database cannot be reached');
/** A confirmation that ends when the test says so. */
function controlled() {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { confirm: () => promise, resolve, reject };
}
const stateOf = async (promise: Promise<unknown>) => {
  const pending = Symbol();
  await new Promise(setImmediate);
  const first = await Promise.race([promise.then(() => 'resolved'), Promise.resolve(pending)]).catch(() => 'rejected');
  return first === pending ? 'pending' : first;
};

test('a delivery is acknowledged while its message is being confirmed', async () => {
  const queue = new ConfirmationQueue(log);
  const { confirm, resolve } = controlled();
  await queue.add(confirm);
  const closing = queue[Symbol.asyncDispose]();
  expect(await stateOf(closing)).toBe('pending');
  resolve();
  await closing;
});

test('a delivery waits for its confirmation while a hundred others are in progress', async () => {
  const queue = new ConfirmationQueue(log);
  const first = controlled();
  await queue.add(first.confirm);
  for (let i = 1; i < 100; i++) await queue.add(controlled().confirm);
  const last = controlled();
  const adding = queue.add(last.confirm);
  expect(await stateOf(adding)).toBe('pending');
  last.resolve();
  await adding;
  first.resolve();
  await new Promise(setImmediate);
  await queue.add(controlled().confirm);
});

test('a confirmation that fails after its acknowledgement is attempted again', async () => {
  const queue = new ConfirmationQueue(log, { retryMs: 1 });
  const confirm = jest.fn<() => Promise<void>>().mockRejectedValueOnce(outage).mockResolvedValueOnce();
  await queue.add(confirm);
  await eventually(() => expect(confirm).toHaveBeenCalledTimes(2));
});

test('deliveries wait for their results from a failure until a confirmation succeeds', async () => {
  const queue = new ConfirmationQueue(log);
  await queue.add(jest.fn<() => Promise<void>>().mockRejectedValueOnce(outage).mockResolvedValue());
  await new Promise(setImmediate);
  await expect(queue.add(() => Promise.reject(outage))).rejects.toBe(outage);
  expect(warnings).toEqual(['cannot confirm messages, retrying']);
  await queue.add(() => Promise.resolve());
  const { confirm, resolve } = controlled();
  await queue.add(confirm);
  resolve();
});

test('closing attempts a failed confirmation once more at most', async () => {
  const queue = new ConfirmationQueue(log);
  const confirm = jest.fn(() => Promise.reject(outage));
  await queue.add(confirm);
  await queue[Symbol.asyncDispose]();
  expect(confirm.mock.calls.length).toBeLessThanOrEqual(2);
});

test('the first confirmation does not wait, those that follow it closely gather', async () => {
  const queue = new ConfirmationQueue(log, { gatherMs: 60_000 });
  const confirm = jest.fn<() => Promise<void>>().mockResolvedValue();
  await queue.add(confirm);
  await new Promise(setImmediate);
  expect(confirm).toHaveBeenCalledTimes(1);
  for (let i = 0; i < 5; i++) await queue.add(confirm);
  await new Promise(setImmediate);
  expect(confirm).toHaveBeenCalledTimes(1);
  await queue[Symbol.asyncDispose]();
  expect(confirm).toHaveBeenCalledTimes(6);
});

test('confirmations that have gathered are attempted', async () => {
  const queue = new ConfirmationQueue(log, { gatherMs: 5 });
  const confirm = jest.fn<() => Promise<void>>().mockResolvedValue();
  for (let i = 0; i < 5; i++) {
    await queue.add(confirm);
    await new Promise(setImmediate);
  }
  await eventually(() => expect(confirm).toHaveBeenCalledTimes(5));
});
