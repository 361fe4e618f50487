import { execFile } from 'node:child_process';
import { join } from 'node:path';
import type { Subscriber } from '#eventing/subscribers';
import { Api } from '../../local/api.ts';
import { eventually } from '../support/eventually.ts';
import { root } from '../support/stack.ts';
import { ownSystem } from './own-system.ts';

const system = ownSystem();
const { running, act, operator, allIsWell } = system;

/** What `node services/canary/main.ts SYSTEM` says, and how it ends. */
function canary(of: 'member' | 'family-account', timeoutSeconds = 30): Promise<{ code: number; output: string }> {
  const { familyAccountUrl, familyAccountOperatorToken } = running();
  const env = {
    ...process.env,
    API_URL: familyAccountUrl,
    OPERATOR_TOKEN: familyAccountOperatorToken,
    TIMEOUT_SECONDS: `${timeoutSeconds}`,
  };
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [join(root, 'services/canary/main.ts'), of],
      { env },
      (_, stdout, stderr) => resolve({ code: child.exitCode ?? -1, output: stdout + stderr }),
    );
  });
}

const WELL = { code: 0, output: expect.stringMatching(/All hops of [\w-]+ are well/) };

test('a canary comes by all hops of its own system and, from the system that is heard, as far as here', async () => {
  const own = await canary('family-account');
  expect(own).toEqual(WELL);
  expect(own.output.match(/^ {2}\S.*(?= \()/gm)).toHaveLength(7);
  const heard = await canary('member');
  expect(heard).toEqual(WELL);
  expect(heard.output.match(/^ {2}\S.*(?= \()/gm)!.map((line) => line.trim())).toEqual([
    'row',
    'relay to member-internal',
    'topic member-internal',
    'recorder of member-internal',
    'external-broadcaster',
    'relay to member-external',
    'recorder of member-external',
    'family-account',
  ]);
}, 30_000);

test('operators see of each app what it hears, and what its sidecar has loaded', async () => {
  const { familyAccountUrl, familyAccountOperatorToken } = running();
  const family = new Api(familyAccountUrl, familyAccountOperatorToken);
  const seen = async () => {
    const all = await Promise.all([operator().get('/v1/subscribers'), family.get('/v1/subscribers')]);
    return all.flatMap(({ subscribers }: { subscribers: Subscriber[] }) =>
      subscribers.map(({ appId, topics, sidecars }) => ({
        app: appId,
        hears: topics.map(({ topic }) => topic),
        misses: topics.filter(({ missedSince }) => missedSince !== null),
        loaded: sidecars.map(({ subscriptions }) => subscriptions.map(({ topic }) => topic).sort()),
        components: sidecars.map(
          ({ components }) => components.filter(({ type }) => type.startsWith('pubsub.')).length,
        ),
      })),
    );
  };
  const worker = (app: string, ...hears: string[]) => ({
    app,
    hears,
    misses: [],
    loaded: [hears],
    components: [expect.any(Number)],
  });
  await eventually(async () =>
    expect(await seen()).toEqual([
      worker('device-login-recorder', 'member-internal'),
      worker('external-broadcaster', 'member-internal'),
      { app: 'member', hears: [], misses: [], loaded: [[]], components: [2] },
      worker('other-device-logout', 'member-internal'),
      worker('other-member-logout', 'member-internal'),
      worker('publish-recorder', 'member-external', 'member-internal'),
      worker('family-account', 'family-account-external', 'family-account-internal', 'member-external'),
    ]),
  );
});

test.each([
  ['member', 'API http'],
  ['member-relay', 'relay to member-internal'],
  ['publish-recorder', 'recorder of member-internal'],
  ['external-broadcaster', 'external-broadcaster'],
  ['family-account-daprd', 'API http'],
])(
  'with %s stopped, a canary stops at: %s',
  async (stopped, hop) => {
    await act('stop', stopped);
    const { code, output } = await canary('member', 3);
    await act('cont', stopped);
    expect([code, output]).toEqual([1, expect.stringContaining(`stopped at: ${hop}`)]);
    expect(await canary('member')).toEqual(WELL);
    await allIsWell();
  },
  60_000,
);
