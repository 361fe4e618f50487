import { execFile } from 'node:child_process';
import { join } from 'node:path';
import type { SubscriberStatus } from '#eventing/subscriber-status';
import { Api } from '../../local/demo/api.ts';
import { eventually } from '../support/eventually.ts';
import { root } from '../support/stack.ts';
import { ownSystem } from './own-system.ts';

const system = ownSystem();
const { running, control, operator, expectSettled } = system;

/** Runs `node ops/canary/main.ts SYSTEM`. @returns its exit code and output */
function canary(of: 'member' | 'family-account', timeoutSeconds = 30): Promise<{ code: number; output: string }> {
  const { familyAccountOperationsUrl, familyAccountOperatorToken } = running();
  const env = {
    ...process.env,
    API_URL: familyAccountOperationsUrl,
    OPERATOR_TOKEN: familyAccountOperatorToken,
    TIMEOUT_SECONDS: `${timeoutSeconds}`,
  };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [join(root, 'ops/canary/main.ts'), of], { env }, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, output: stdout + stderr }),
    );
  });
}

const COMPLETE = { code: 0, output: expect.stringMatching(/All hops of [\w-]+ passed/) };

test('a canary completes all hops, of its own system and from the upstream system up to here', async () => {
  const own = await canary('family-account');
  expect(own).toEqual(COMPLETE);
  expect(own.output.match(/^ {2}\S.*(?= \()/gm)).toHaveLength(7);
  const upstream = await canary('member');
  expect(upstream).toEqual(COMPLETE);
  expect(upstream.output.match(/^ {2}\S.*(?= \()/gm)!.map((line) => line.trim())).toEqual([
    'row',
    'relay to member-internal',
    'topic member-internal',
    'recorder of member-internal',
    'external-broadcaster',
    'relay to member-external',
    'recorder of member-external',
    'family-account',
  ]);
});

test('operators can list the topics of each app and what its sidecar has loaded', async () => {
  const { familyAccountOperationsUrl, familyAccountOperatorToken } = running();
  const family = new Api(familyAccountOperationsUrl, familyAccountOperatorToken);
  const summaries = async () => {
    const all = await Promise.all([operator().get('/v1/subscribers'), family.get('/v1/subscribers')]);
    return all.flatMap(({ subscribers }: { subscribers: SubscriberStatus[] }) =>
      subscribers.map(({ appId, topics, sidecars }) => ({
        app: appId,
        receives: topics.map(({ topic }) => topic),
        stalled: topics.filter(({ stalledSince }) => stalledSince !== null),
        loaded: sidecars.map(({ subscriptions }) => subscriptions.map(({ topic }) => topic).sort()),
        components: sidecars.map(
          ({ components }) => components.filter(({ type }) => type.startsWith('pubsub.')).length,
        ),
      })),
    );
  };
  const worker = (app: string, ...receives: string[]) => ({
    app,
    receives,
    stalled: [],
    loaded: [receives],
    components: [expect.any(Number)],
  });
  await eventually(async () =>
    expect(await summaries()).toEqual([
      worker('device-login-recorder', 'member-internal'),
      worker('external-broadcaster', 'member-internal'),
      { app: 'member', receives: [], stalled: [], loaded: [[]], components: [2] },
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
])('a canary stops at the hop of a stopped process: %s, %s', async (stopped, hop) => {
  await control('stop', stopped);
  const { code, output } = await canary('member', 3);
  await control('cont', stopped);
  expect([code, output]).toEqual([1, expect.stringContaining(`stopped at: ${hop}`)]);
  expect(await canary('member')).toEqual(COMPLETE);
  await expectSettled();
});
