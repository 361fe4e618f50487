import type { MikroORM } from '@mikro-orm/postgresql';
import type { Keyring } from '#eventing/keyring';

/**
 * Wraps every key with the first master key, page by page, beside the apps at work. Once more from the beginning until there is nothing to do:
 * an app that still wraps with another one may have made a key meanwhile.
 * @returns how many were wrapped with another one
 */
export async function rewrapAll(
  orm: MikroORM,
  keyring: Pick<Keyring, 'rewrap'>,
  tell: (rewrapped: number) => void = () => undefined,
): Promise<number> {
  let all = 0;
  for (let pass = -1; pass !== 0; ) {
    pass = 0;
    let after: string | undefined;
    do {
      const { rewrapped, next } = await keyring.rewrap(orm.em.fork(), after);
      pass += rewrapped;
      after = next;
      if (rewrapped > 0) tell(all + pass);
    } while (after !== undefined);
    all += pass;
  }
  return all;
}
