import { setTimeout as delay } from 'node:timers/promises';
import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { eventually } from '../support/eventually.ts';
import {
  canary,
  cluster,
  expectHealthy,
  followRemedy,
  installReadingDefinitions,
  kubectl,
  readingDefinitions,
  typeCommands,
  waitForFindings,
  waitForRollout,
} from './diagnosis.ts';

// Each test begins and ends with a healthy system.
beforeAll(installReadingDefinitions, 400_000);

const helmTest = (release: string) =>
  cluster.shell.run(['helm', 'test', release, '--namespace', NAMESPACE, '--logs', '--timeout', '3m']);

test('helm test prints each hop of a canary, for both releases', async () => {
  expect(await helmTest('member')).toMatch(/row.*recorder of member-external.*All hops of member passed/s);
  expect(await helmTest('family-account')).toMatch(/family-account \(.*All hops of family-account and member passed/s);
}, 300_000);

test('the doctor’s Job finds nothing in a healthy system', async () => {
  for (const system of ['member', 'family-account']) {
    const job = `diagnose-${system}`;
    await kubectl('create', 'job', job, `--from=cronjob/${system}-doctor`);
    try {
      await kubectl('wait', '--for=condition=complete', `job/${job}`, '--timeout=90s');
      const [verdict, ...others] = (await kubectl('logs', `job/${job}`)).trimEnd().split('\n');
      expect(verdict).toBe('No problems found.');
      // A canary may have been published a moment ago.
      for (const other of others) expect(other).toMatch(/has not received a message published/);
    } finally {
      await kubectl('delete', 'job', job);
    }
  }
}, 240_000);

test.each([
  ['api-does-not-answer', 'APP'],
  ['pods-not-ready', 'APP'],
  ['stalled-subscription', 'APP'],
  ['sidecar-without-report', 'POD'],
  ['sidecar-without-resource', 'POD'],
])('the commands of the runbook’s section %s show something', async (section, variable) => {
  const pod = await kubectl(
    'get',
    'pods',
    '--selector=app.kubernetes.io/name=family-account',
    '--output=jsonpath={.items[0].metadata.name}',
  );
  const values = { [variable]: variable === 'APP' ? 'family-account' : pod.trim() };
  expect((await typeCommands(section, values)).split('\n').length).toBeGreaterThan(2);
});

test('helm test of a release without its Secret fails and names the API', async () => {
  await using repair = new AsyncDisposableStack();
  repair.defer(async () => {
    await installChart(cluster.shell, 'family-account', ...readingDefinitions('family-account'));
    await expectHealthy();
  });
  await kubectl('scale', 'deployment/family-account', '--replicas=0');
  const broken = installChart(
    cluster.shell,
    'family-account',
    '--set',
    'dapr.apiTokenSecret=missing',
    '--timeout',
    '20s',
  );
  await expect(broken).rejects.toThrow();
  await expect(helmTest('family-account')).rejects.toThrow(/stopped at: API http:\/\/family-account-operations:8083/);
}, 600_000);

test('pods that start without the injector stay unready, and the doctor names them', async () => {
  const injector = (...args: string[]) => cluster.shell.kubectl('--namespace', 'dapr-system', ...args);
  const name = 'deployment/dapr-sidecar-injector';
  const pods = ['--selector=app.kubernetes.io/name=other-device-logout'];
  const replicas = await injector('get', name, '--output=jsonpath={.spec.replicas}');
  await using repair = new AsyncDisposableStack();
  repair.defer(async () => {
    await injector('scale', name, `--replicas=${replicas.trim()}`);
    await injector('rollout', 'status', name, '--timeout=120s');
    await eventually(
      async () => {
        const containers = () =>
          kubectl('get', 'pod', ...pods, '--output=jsonpath={.items[*].spec.containers[*].name}');
        // It may be reachable only a moment after it is ready; a pod created before gets no sidecar.
        if (!(await containers()).includes('daprd')) await followRemedy(/^Pod other-device-logout-.* has no sidecar/);
        expect(await containers()).toMatch(/daprd/);
      },
      { timeoutMs: 180_000 },
    );
    await waitForRollout('other-device-logout');
    await expectHealthy();
  });
  await injector('scale', name, '--replicas=0');
  await injector('wait', '--for=delete', 'pod', '--selector=app=dapr-sidecar-injector', '--timeout=90s');
  await kubectl('delete', 'pod', ...pods, '--now');
  await waitForFindings(
    /^Pod other-device-logout-.* has no sidecar/,
    /^Deployment other-device-logout has no ready pod/,
  );
  // No other app is affected.
  expect(await canary()).toMatch(/All hops of member passed/);
  await delay(5_000);
  await expect(kubectl('rollout', 'status', 'deployment/other-device-logout', '--timeout=1s')).rejects.toThrow();
}, 400_000);
