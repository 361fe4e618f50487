import { hashPassword, verifyPassword } from '../../../services/member/passwords.ts';
import { shareOfThisThread } from '../../support/share-of-this-thread.ts';

const times = <T>(work: () => Promise<T>) => Promise.all(Array.from({ length: 20 }, work));

test.each<[string, (hash: string) => Promise<unknown>]>([
  ['hashing', () => hashPassword('a long password')],
  ['checking a right one', (hash) => verifyPassword(hash, 'a long password')],
  ['checking a wrong one', (hash) => verifyPassword(hash, 'another password')],
  ['checking one of nobody', () => verifyPassword(undefined, 'a long password')],
])('the event loop goes on meanwhile, since others do the work of %s', async (_, work) => {
  const hash = await hashPassword('a long password');
  // Some 2 % of it is ours; all of it would be, were it done on the event loop.
  expect(await shareOfThisThread(() => times(() => work(hash)))).toBeLessThan(0.3);
});
