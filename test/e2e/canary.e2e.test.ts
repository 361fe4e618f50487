import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { root } from '../support/stack.ts';
import { ownSystem } from './own-system.ts';

const system = ownSystem();
const { running, act, allIsWell } = system;

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
