import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { diagnose, print } from '../../../services/doctor/report.ts';
import { root } from '../../support/stack.ts';
import { APPS, LISTENER, named, serve, set, well } from './world.ts';

// Whom the doctor asks, and what it says of those who do not answer.

test('the doctor shows its own credential to each, and no other', async () => {
  await using server = await serve(well());
  const kubernetes = { url: server.url, token: 'of-the-doctor' };
  await diagnose({ kubernetes, namespace: 'here', apiUrl: server.url, operatorToken: 'of-operators', apps: APPS });
  for (const line of server.asked)
    expect(line).toMatch(line.startsWith('/v1/') ? / Bearer of-operators$/ : / Bearer of-the-doctor$/);
});

test('where the API cannot be reached nobody is asked for it, and why is told', async () => {
  await using server = await serve(well());
  const found = await diagnose({
    kubernetes: { url: server.url },
    namespace: 'here',
    apiUrl: server.url,
    unreachable: new Error('service/member cannot be reached: error: pod is not running'),
    operatorToken: 'of-operators',
    apps: APPS,
  });
  expect(found.findings.map(({ what }) => what)).toEqual([
    'does not answer: service/member cannot be reached: error: pod is not running',
  ]);
  expect(server.asked.filter((line) => line.includes('of-operators'))).toEqual([]);
});

describe('Where the API does not answer', () => {
  const options = { namespace: 'here', operatorToken: 'of-operators', apps: APPS };
  const unheard = 'What sidecars have loaded and what was heard is known to the API only, and was not looked at.';

  test('the reason is found in what the cluster says, and what only the API knows is left out', async () => {
    const world = well();
    for (const it of world.pods.filter(({ metadata }) => metadata.name.startsWith('member-'))) {
      it.spec.containers.pop();
      it.status.conditions = [];
    }
    named(world.deployments, 'member').status = {};
    set(world, LISTENER, 'ackWait', undefined);
    world.definitions!.find(({ metadata }) => metadata.name === 'subscriptions.dapr.io').spec.versions.pop();
    // Were they looked at, each would be a finding.
    for (const it of world.subscribers) it.sidecars.pop();
    await using server = await serve(world);
    const found = await diagnose({ ...options, kubernetes: { url: server.url }, apiUrl: 'http://127.0.0.1:1' });
    expect(found.findings.map(({ where, what }) => `${where} ${what}`)).toEqual([
      expect.stringMatching(/^API http:\/\/127.0.0.1:1 does not answer: .*(ECONNREFUSED|bad port)/),
      expect.stringMatching(/^CustomResourceDefinition subscriptions.dapr.io .* does not serve v2alpha1/),
      expect.stringMatching(/^Component family-account-member-external ackWait is not set/),
      expect.stringMatching(/^Pod member-7f-x2 has no sidecar/),
      'Deployment member has no pod that is ready',
    ]);
    expect(found.findings[0]!.remedy).toBe('# mend what else is found, then look again');
    expect(found.unseen).toEqual([unheard]);
    expect(print(found)).toContain(`5 found.\n${unheard}`);
  });

  test.each([
    ['/elsewhere', /does not answer: GET \/v1\/subscribers answered 404: /],
    ['/nonsense', /does not answer: GET \/v1\/subscribers answered no subscribers: {"items":/],
  ])('and nothing else is found, it is said how to look at it: %s', async (path, what) => {
    await using server = await serve(well());
    const found = await diagnose({ ...options, kubernetes: { url: server.url }, apiUrl: server.url + path });
    expect(found.findings).toEqual([
      {
        where: `API ${server.url}${path}`,
        what: expect.stringMatching(what),
        remedy: expect.stringMatching(/^kubectl get pods --selector app.kubernetes.io\/name=member/),
      },
    ]);
    expect(found.unseen).toEqual([unheard]);
  });
});

test('a cluster that cannot be asked is said', async () => {
  await using server = await serve(well());
  const options = { apiUrl: server.url, operatorToken: 'of-operators', apps: APPS };
  await expect(diagnose({ ...options, kubernetes: { url: server.url }, namespace: 'nowhere' })).rejects.toThrow(
    /^Kubernetes answered 404 to .*nowhere.*: no such list$/,
  );
  await expect(diagnose({ ...options, kubernetes: { url: 'http://localhost:1' }, namespace: 'here' })).rejects.toThrow(
    /^Kubernetes at http:\/\/localhost:1 does not answer: .*ECONNREFUSED/,
  );
});

describe('The command', () => {
  const run = async (env: Record<string, string>) => {
    const child = promisify(execFile)(process.execPath, [join(root, 'services/doctor/main.ts'), ...APPS], {
      env: { NAMESPACE: 'here', OPERATOR_TOKEN: 'o'.repeat(32), ...env },
    });
    const { code = 0, stdout, stderr } = await child.catch((error) => error);
    return [code, stdout + stderr];
  };
  const NOWHERE = 'http://127.0.0.1:1';

  test('ends with 0 when all is well, with 1 when something is found, and with 2 when it could not look', async () => {
    await using server = await serve(well());
    expect(await run({ KUBERNETES_URL: server.url, API_URL: server.url })).toEqual([
      0,
      'Nothing is found that keeps events from being heard.\n',
    ]);
    expect(await run({ KUBERNETES_URL: server.url, API_URL: NOWHERE })).toEqual([
      1,
      expect.stringMatching(
        /^API http.* does not answer: .*\n {4}kubectl get pods .*\n {4}# .*\n1 found\.\n.*was not looked at\.\n$/,
      ),
    ]);
    expect(await run({ KUBERNETES_URL: NOWHERE, API_URL: server.url })).toEqual([
      2,
      expect.stringMatching(/^Kubernetes at http.* does not answer: .*ECONNREFUSED/),
    ]);
  });
});
