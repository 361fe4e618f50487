import nock from 'nock';
import { portOneIdentityProvider } from '../../../services/member/portone-identity-provider.ts';

const url = 'https://identity.test';
const secret = 'a-secret-of-ours-0123456789';
/** Three tries in quick succession, each with time enough for a busy machine. */
const patience = { tryMs: 5_000, totalMs: 20_000, tries: 3, backoffMs: 5 };
const provider = portOneIdentityProvider({ url: `${url}/`, secret, patience });

const expectRequest = (id = 'ok-1') =>
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
  test('is returned as its CI only', async () => {
    expectRequest().reply(200, verified());
    await expect(provider.find('ok-1')).resolves.toEqual({ ci: 'CI of Anna' });
  });

  test('is requested by its URL-encoded id', async () => {
    const id = '../a b/ü?x=1#y';
    nock(url)
      .get(`/identity-verifications/${encodeURIComponent(id)}`)
      .reply(200, verified(id));
    await expect(provider.find(id)).resolves.toEqual({ ci: 'CI of Anna' });
  });

  test.each(['.', '..'])('is never requested at another path: %s', async (id) => {
    await expect(provider.find(id)).rejects.toMatchObject({ slug: 'identity-verification-unknown' });
  });
});

describe('An identity that is not verified', () => {
  test.each<[string, object, string]>([
    ['has failed', { status: 'FAILED', id: 'ok-1', failure: { reason: 'wrong code' } }, 'identity-not-verified'],
    ['is not finished', { status: 'READY', id: 'ok-1' }, 'identity-not-verified'],
    ['has no CI', { status: 'VERIFIED', id: 'ok-1', verifiedCustomer: { name: 'A' } }, 'identity-without-ci'],
  ])('is rejected when it %s', async (_, body, slug) => {
    expectRequest().reply(200, body);
    await expect(provider.find('ok-1')).rejects.toMatchObject({ slug, kind: 'unprocessable' });
  });

  test.each([404, 400])('is rejected when the provider does not know it (%i)', async (status) => {
    expectRequest().reply(status, { type: 'IDENTITY_VERIFICATION_NOT_FOUND' });
    await expect(provider.find('ok-1')).rejects.toMatchObject({ slug: 'identity-verification-unknown' });
  });
});

describe('A failing identity provider', () => {
  const unavailable = { slug: 'identity-provider-unavailable', kind: 'unavailable' };

  test.each([500, 502, 503, 429])('is retried after a temporary failure (%i)', async (status) => {
    expectRequest().reply(status, {});
    expectRequest().reply(200, verified());
    await expect(provider.find('ok-1')).resolves.toEqual({ ci: 'CI of Anna' });
  });

  test('is retried after a broken connection', async () => {
    expectRequest().replyWithError(Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
    expectRequest().reply(200, verified());
    await expect(provider.find('ok-1')).resolves.toEqual({ ci: 'CI of Anna' });
  });

  test('is reported as unavailable after three tries', async () => {
    expectRequest().times(3).reply(503, {});
    await expect(provider.find('ok-1')).rejects.toMatchObject(unavailable);
  });

  test('is not retried before its Retry-After, which is passed on', async () => {
    expectRequest().reply(429, {}, { 'retry-after': '30' });
    await expect(provider.find('ok-1')).rejects.toMatchObject({ ...unavailable, retryAfterSeconds: 30 });
  });

  test.each([401, 403])('is not retried when it rejects our secret (%i)', async (status) => {
    expectRequest().reply(status, { type: 'UNAUTHORIZED' });
    await expect(provider.find('ok-1')).rejects.toMatchObject(unavailable);
  });

  test.each<[string, unknown]>([
    ['invalid JSON', '<html>'],
    ['an unknown status', { status: 'PERHAPS' }],
    ['another verification', verified('ok-2')],
  ])('is reported as unavailable when it answers with %s', async (_, body) => {
    expectRequest().reply(200, body as nock.Body);
    await expect(provider.find('ok-1')).rejects.toMatchObject(unavailable);
  });

  test('is reported without personal data', async () => {
    expectRequest().reply(200, { ...verified(), status: 'VERIFIED', verifiedCustomer: { ci: 7, name: 'Anna' } });
    const error: Error = await provider.find('ok-1').catch((thrown) => thrown);
    expect(`${error.message} ${(error.cause as Error).message}`).not.toMatch(/Anna/);
  });
});
