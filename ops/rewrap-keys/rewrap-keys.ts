import type { MikroORM } from '@mikro-orm/postgresql';
import type { Keyring } from '#eventing/keyring';

/**
 * Wraps every key with the first master key, page by page, while the apps keep running. Repeats from the start until a
 * pass rewraps nothing: an app that still uses another master key may have added keys meanwhile.
 * @param onProgress called after each page with the number of keys rewrapped so far
 * @returns the number of rewrapped keys
 */
export async function rewrapAll(
  orm: MikroORM,
  keyring: Pick<Keyring, 'rewrap'>,
  onProgress: (rewrapped: number) => void = () => undefined,
): Promise<number> {
  let total = 0;
  for (let pass = -1; pass !== 0; ) {
    pass = 0;
    let after: string | undefined;
    do {
      const { rewrapped, next } = await keyring.rewrap(orm.em.fork(), after);
      pass += rewrapped;
      after = next;
      if (rewrapped > 0) onProgress(total + pass);
    } while (after !== undefined);
    total += pass;
  }
  return total;
}
