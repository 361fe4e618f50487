import type { AddressInfo } from 'node:net';
import { listen } from '#service/run';
import { portOneIdentityProvider } from '../../../services/member/portone-identity-provider.ts';
import { portOneSandbox } from '../../../services/member/sandbox/portone.ts';

const secret = 'a-secret-of-ours-0123456789';
/** Enough for an answer on a busy machine. */
const patience = { tryMs: 5_000, totalMs: 20_000, tries: 2, backoffMs: 5 };
const stopping = new AbortController();
let server: Awaited<ReturnType<typeof listen>>;
let url: string;
beforeAll(async () => {
  server = await listen(portOneSandbox(secret, stopping.signal), { port: 0, host: '127.0.0.1' });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  stopping.abort();
  await server[Symbol.asyncDispose]();
});

const find = (id: string, given = secret, patient = patience) =>
  portOneIdentityProvider({ url, secret: given, patience: patient }).find(id);

describe('In the sandbox, as at the provider,', () => {
  test('the same id is the same person, another id another', async () => {
    const [anna, again, ben] = await Promise.all([find('ok-anna'), find('ok-anna'), find('ok-ben')]);
    expect(anna).toEqual(again);
    expect(anna).not.toEqual(ben);
  });

  test.each([
    ['no-1', 'identity-not-verified'],
    ['another', 'identity-verification-unknown'],
    ['ok', 'identity-verification-unknown'],
    ['down-1', 'identity-provider-unavailable'],
  ])('%s is refused: %s', async (id, slug) => {
    await expect(find(id)).rejects.toMatchObject({ slug });
  });

  test('a slow answer is given up, well before the caller gives up', async () => {
    const started = performance.now();
    const impatience = { tryMs: 50, totalMs: 150, tries: 2, backoffMs: 5 };
    await expect(find('slow-1', secret, impatience)).rejects.toMatchObject({ slug: 'identity-provider-unavailable' });
    // The sandbox answers after 30 s.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  test('a wrong secret opens nothing', async () => {
    await expect(find('ok-1', 'another-secret-0123456789')).rejects.toMatchObject({
      slug: 'identity-provider-unavailable',
    });
  });
});
