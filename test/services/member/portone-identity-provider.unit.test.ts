import nock from 'nock';
import { portOneIdentityProvider } from '../../../services/member/portone-identity-provider.ts';

const url = 'https://identity.test';
const secret = 'a-secret-of-ours-0123456789';
/** Three tries in a moment, and time enough for each on a busy machine. */
const patience = { tryMs: 5_000, totalMs: 20_000, tries: 3, backoffMs: 5 };
const provider = portOneIdentityProvider({ url: `${url}/`, secret, patience });

const asked = (id = 'ok-1') =>
  nock(url, { reqheaders: { authorization: `PortOne ${secret}` } }).get(`/identity-verifications/${id}`);
const verified = (id = 'ok-1') => ({
  status: 'VERIFIED',
  id,
  verifiedCustomer: { ci: 'CI of Anna', name: 'Anna', birthDate: '1990-01-31', phoneNumber: '01012345678' },
  requestedAt: '2026-07-01T09:00:00Z',
  verifiedAt: '2026-07-01T09:01:00Z',
  version: 'V2',
});

beforeAll(() => nock.disableNetConnect());
afterEach(() => {
  expect(nock.pendingMocks()).toEqual([]);
  nock.cleanAll();
});
afterAll(() => {
  nock.enableNetConnect();
  nock.restore();
});

describe('A verified identity', () => {
  test('is told by its CI alone', async () => {
    asked().reply(200, verified());
    await expect(provider.find('ok-1')).resolves.toEqual({ ci: 'CI of Anna' });
  });

  test('is asked for under its id, whatever the id holds', async () => {
    const id = '../a b/ü?x=1#y';
    nock(url)
      .get(`/identity-verifications/${encodeURIComponent(id)}`)
      .reply(200, verified(id));
    await expect(provider.find(id)).resolves.toEqual({ ci: 'CI of Anna' });
  });

  test.each(['.', '..'])('is never asked for at another path: %s', async (id) => {
    await expect(provider.find(id)).rejects.toMatchObject({ slug: 'identity-verification-unknown' });
  });
});

describe('An identity that is not verified', () => {
  test.each<[string, object, string]>([
    ['has failed', { status: 'FAILED', id: 'ok-1', failure: { reason: 'wrong code' } }, 'identity-not-verified'],
    ['is not finished', { status: 'READY', id: 'ok-1' }, 'identity-not-verified'],
    ['came without a CI', { status: 'VERIFIED', id: 'ok-1', verifiedCustomer: { name: 'A' } }, 'identity-without-ci'],
  ])('because it %s is refused', async (_, body, slug) => {
    asked().reply(200, body);
    await expect(provider.find('ok-1')).rejects.toMatchObject({ slug, kind: 'unprocessable' });
  });

  test.each([404, 400])('because the provider does not know it is refused (%i)', async (status) => {
    asked().reply(status, { type: 'IDENTITY_VERIFICATION_NOT_FOUND' });
    await expect(provider.find('ok-1')).rejects.toMatchObject({ slug: 'identity-verification-unknown' });
  });
});

describe('A provider that cannot answer', () => {
  const unavailable = { slug: 'identity-provider-unavailable', kind: 'unavailable' };

  test.each([500, 502, 503, 429])('for a moment is asked again (%i)', async (status) => {
    asked().reply(status, {});
    asked().reply(200, verified());
    await expect(provider.find('ok-1')).resolves.toEqual({ ci: 'CI of Anna' });
  });

  test('because a connection broke is asked again', async () => {
    asked().replyWithError(Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
    asked().reply(200, verified());
    await expect(provider.find('ok-1')).resolves.toEqual({ ci: 'CI of Anna' });
  });

  test('is given up after three tries', async () => {
    asked().times(3).reply(503, {});
    await expect(provider.find('ok-1')).rejects.toMatchObject(unavailable);
  });

  test('and says for how long is not asked sooner, and its word is passed on', async () => {
    asked().reply(429, {}, { 'retry-after': '30' });
    await expect(provider.find('ok-1')).rejects.toMatchObject({ ...unavailable, retryAfterSeconds: 30 });
  });

  test.each([401, 403])('because our secret is wrong is not asked again (%i)', async (status) => {
    asked().reply(status, { type: 'UNAUTHORIZED' });
    await expect(provider.find('ok-1')).rejects.toMatchObject(unavailable);
  });

  test.each<[string, unknown]>([
    ['not JSON', '<html>'],
    ['something else', { status: 'PERHAPS' }],
    ['another verification', verified('ok-2')],
  ])('with sense, but with %s, is not believed', async (_, body) => {
    asked().reply(200, body as nock.Body);
    await expect(provider.find('ok-1')).rejects.toMatchObject(unavailable);
  });

  test('is told of without a word about the person', async () => {
    asked().reply(200, { ...verified(), status: 'VERIFIED', verifiedCustomer: { ci: 7, name: 'Anna' } });
    const error: Error = await provider.find('ok-1').catch((thrown) => thrown);
    expect(`${error.message} ${(error.cause as Error).message}`).not.toMatch(/Anna/);
  });
});
