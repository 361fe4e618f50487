import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { diagnose, print } from '../../../ops/doctor/report.ts';
import { root } from '../../support/stack.ts';
import { APPS, healthyCluster, LISTENER, named, serve, set } from './fake-cluster.ts';

// Which servers the doctor queries, and its report when one does not answer.

test('the doctor sends each server only the credential for it', async () => {
  await using server = await serve(healthyCluster());
  const kubernetes = { url: server.url, token: 'of-the-doctor' };
  await diagnose({ kubernetes, namespace: 'here', apiUrl: server.url, operatorToken: 'of-operators', apps: APPS });
  for (const line of server.requests)
    expect(line).toMatch(line.startsWith('/v1/') ? / Bearer of-operators$/ : / Bearer of-the-doctor$/);
});

test('an API known to be unreachable is not called, and the reason is reported', async () => {
  await using server = await serve(healthyCluster());
  const found = await diagnose({
    kubernetes: { url: server.url },
    namespace: 'here',
    apiUrl: server.url,
    unreachable: new Error('service/member cannot be reached: error: pod is not running'),
    operatorToken: 'of-operators',
    apps: APPS,
  });
  expect(found.findings.map(({ what }) => what)).toEqual([
    'cannot be queried: service/member cannot be reached: error: pod is not running',
  ]);
  expect(server.requests.filter((line) => line.includes('of-operators'))).toEqual([]);
});

describe('An API that does not answer', () => {
  const options = { namespace: 'here', operatorToken: 'of-operators', apps: APPS };
  const notExamined = 'Not checked: what sidecars have loaded and what apps have received. Only the API knows that.';

  test('is explained by findings in the cluster, and its own checks are skipped', async () => {
    const cluster = healthyCluster();
    for (const it of cluster.pods.filter(({ metadata }) => metadata.name.startsWith('member-'))) {
      it.spec.containers.pop();
      it.status.conditions = [];
    }
    named(cluster.deployments, 'member').status = {};
    set(cluster, LISTENER, 'ackWait', undefined);
    cluster.definitions!.find(({ metadata }) => metadata.name === 'subscriptions.dapr.io').spec.versions.pop();
    // Each would be a finding if it were examined.
    for (const it of cluster.subscribers) it.sidecars.pop();
    await using server = await serve(cluster);
    const found = await diagnose({ ...options, kubernetes: { url: server.url }, apiUrl: 'http://127.0.0.1:1' });
    expect(found.findings.map(({ where, what }) => `${where} ${what}`)).toEqual([
      expect.stringMatching(/^CustomResourceDefinition subscriptions.dapr.io .* does not serve v2alpha1/),
      expect.stringMatching(/^Component family-account-member-external ackWait is not set/),
      expect.stringMatching(/^Pod member-7f-x2 has no sidecar/),
      'Deployment member has no ready pod',
      expect.stringMatching(/^API http:\/\/127.0.0.1:1 cannot be queried: .*(ECONNREFUSED|bad port)/),
    ]);
    expect(found.findings.at(-1)!.remedy).toBe(
      'Fix the other findings, then run the doctor again: docs/doctor.md#order-of-repairs',
    );
    expect(found.unseen).toEqual([notExamined]);
    expect(print(found)).toContain(`5 problems found.\n${notExamined}`);
  });

  test.each([
    ['/elsewhere', /cannot be queried: GET \/v1\/subscribers answered 404: /],
    ['/nonsense', /cannot be queried: GET \/v1\/subscribers returned an unexpected body: {"items":/],
  ])('is the only finding, with its remedy: %s', async (path, what) => {
    await using server = await serve(healthyCluster());
    const found = await diagnose({ ...options, kubernetes: { url: server.url }, apiUrl: server.url + path });
    expect(found.findings).toEqual([
      {
        where: `API ${server.url}${path}`,
        what: expect.stringMatching(what),
        remedy: expect.stringMatching(/^Check that the pods of member are ready .*#api-does-not-answer$/),
      },
    ]);
    expect(found.unseen).toEqual([notExamined]);
  });
});

test('a Kubernetes API that cannot be reached is an error', async () => {
  await using server = await serve(healthyCluster());
  const options = { apiUrl: server.url, operatorToken: 'of-operators', apps: APPS };
  await expect(diagnose({ ...options, kubernetes: { url: server.url }, namespace: 'nowhere' })).rejects.toThrow(
    /^Kubernetes answered 404 to .*nowhere.*: no such list$/,
  );
  await expect(diagnose({ ...options, kubernetes: { url: 'http://localhost:1' }, namespace: 'here' })).rejects.toThrow(
    /^Kubernetes at http:\/\/localhost:1 cannot be queried: .*ECONNREFUSED/,
  );
});

describe('The command', () => {
  const run = async (env: Record<string, string>) => {
    const child = promisify(execFile)(process.execPath, [join(root, 'ops/doctor/main.ts'), ...APPS], {
      env: { NAMESPACE: 'here', OPERATOR_TOKEN: 'o'.repeat(32), ...env },
    });
    const { code = 0, stdout, stderr } = await child.catch((error) => error);
    return [code, stdout + stderr];
  };
  const NOWHERE = 'http://127.0.0.1:1';

  test('exits with 0 without findings, 1 with findings, and 2 if the cluster is unreachable', async () => {
    await using server = await serve(healthyCluster());
    expect(await run({ KUBERNETES_URL: server.url, API_URL: server.url })).toEqual([0, 'No problems found.\n']);
    expect(await run({ KUBERNETES_URL: server.url, API_URL: NOWHERE })).toEqual([
      1,
      expect.stringMatching(
        /^API http.* cannot be queried: .*\n {4}Check that .*#api-does-not-answer\n1 problem found\.\nNot checked: .*\n$/,
      ),
    ]);
    expect(await run({ KUBERNETES_URL: NOWHERE, API_URL: server.url })).toEqual([
      2,
      expect.stringMatching(/^Kubernetes at http.* cannot be queried: .*ECONNREFUSED/),
    ]);
  });
});
