import { hashPassword, verifyPassword } from '../../../services/member/passwords.ts';
import { shareOfThisThread } from '../../support/share-of-this-thread.ts';

const times = <T>(work: () => Promise<T>) => Promise.all(Array.from({ length: 20 }, work));

test.each<[string, (hash: string) => Promise<unknown>]>([
  ['hashing a password', () => hashPassword('a long password')],
  ['checking a right password', (hash) => verifyPassword(hash, 'a long password')],
  ['checking a wrong password', (hash) => verifyPassword(hash, 'another password')],
  ['checking an unknown member’s password', () => verifyPassword(undefined, 'a long password')],
])('%s runs outside the event loop', async (_, work) => {
  const hash = await hashPassword('a long password');
  // About 2 % of the work is this thread's; all of it would be if it were done on the event loop.
  expect(await shareOfThisThread(() => times(() => work(hash)))).toBeLessThan(0.3);
});
