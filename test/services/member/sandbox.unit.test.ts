import type { AddressInfo } from 'node:net';
import { listen } from '#http/listen';
import { portOneIdentityProvider } from '../../../services/member/portone-identity-provider.ts';
import { portOneSandbox } from '../../../services/member/sandbox/portone.ts';

const secret = 'a-secret-of-ours-0123456789';
/** Time enough for an answer on a busy machine. */
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

const find = (id: string, given = secret, timeouts = patience) =>
  portOneIdentityProvider({ url, secret: given, patience: timeouts }).find(id);

describe('The sandbox provider', () => {
  test('returns the same person for the same id, and another for another id', async () => {
    const [anna, again, ben] = await Promise.all([find('ok-anna'), find('ok-anna'), find('ok-ben')]);
    expect(anna).toEqual(again);
    expect(anna).not.toEqual(ben);
  });

  test.each([
    ['no-1', 'identity-not-verified'],
    ['another', 'identity-verification-unknown'],
    ['ok', 'identity-verification-unknown'],
    ['down-1', 'identity-provider-unavailable'],
  ])('rejects the id %s: %s', async (id, slug) => {
    await expect(find(id)).rejects.toMatchObject({ slug });
  });

  test('answers slow ids after the client’s timeout', async () => {
    const started = performance.now();
    const shortTimeouts = { tryMs: 50, totalMs: 150, tries: 2, backoffMs: 5 };
    await expect(find('slow-1', secret, shortTimeouts)).rejects.toMatchObject({
      slug: 'identity-provider-unavailable',
    });
    // The sandbox answers after 30 s.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  test('rejects a wrong secret', async () => {
    await expect(find('ok-1', 'another-secret-0123456789')).rejects.toMatchObject({
      slug: 'identity-provider-unavailable',
    });
  });
});
