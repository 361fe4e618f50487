import { charts } from '../../docs/charts.ts';
import { helmPrograms, render } from '../support/helm.ts';
import { ofKind, podsOf } from './manifests.ts';

let helm: string;
beforeAll(async () => {
  [helm] = (await helmPrograms()) as [string];
});

const renderAll = async (values = '') => (await Promise.all(charts.map((chart) => render(helm, chart, values)))).flat();

test('every pod has minimal privileges, and every container requests and limits resources', async () => {
  const manifests = await renderAll();
  const templates = podsOf(manifests);
  expect(templates.length).toBeGreaterThan(12);
  for (const { spec } of templates) {
    expect(spec).toMatchObject({
      // Only the doctor calls the API server.
      automountServiceAccountToken: /-doctor$/.test(spec.serviceAccountName),
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    });
    for (const container of spec.containers) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect(container.resources).toMatchObject({
        requests: { cpu: expect.anything() },
        limits: { memory: expect.anything() },
      });
    }
  }
});

test('the processes of every pod get its shutdown values', async () => {
  const given = async (chart: string, values: string) =>
    ofKind(await render(helm, chart, values), 'Deployment').map(({ spec }) =>
      spec.template.spec.containers.map(({ env }: { env: { name: string; value?: string }[] }) =>
        Object.fromEntries(env.map(({ name, value }) => [name, value])),
      ),
    );
  const longer = 'shutdown: { delaySeconds: 8, sidecarDrainSeconds: 9, timeoutSeconds: 33, gracePeriodSeconds: 60 }';
  for (const chart of charts)
    for (const [app, relay] of await given(chart, longer)) {
      expect(app).toMatchObject({
        SHUTDOWN_DELAY_SECONDS: '8',
        SIDECAR_DRAIN_SECONDS: '9',
        SHUTDOWN_TIMEOUT_SECONDS: '33',
      });
      if (chart !== 'workers') expect(relay).toMatchObject({ SHUTDOWN_TIMEOUT_SECONDS: '33' });
    }
});

test('extra volumes are in every pod and mounted in every container', async () => {
  for (const chart of charts) {
    const volumes = [{ name: 'ca', secret: { secretName: 'postgres-ca' } }];
    const volumeMounts = [{ name: 'ca', mountPath: '/etc/postgres-ca', readOnly: true }];
    for (const { spec } of podsOf(await render(helm, chart))) {
      expect(spec).not.toHaveProperty('volumes');
      for (const container of spec.containers) expect(container).not.toHaveProperty('volumeMounts');
    }
    const given = JSON.stringify({ extraVolumes: volumes, extraVolumeMounts: volumeMounts });
    for (const { spec } of podsOf(await render(helm, chart, given))) {
      expect(spec.volumes).toEqual(volumes);
      for (const container of spec.containers) expect(container.volumeMounts).toEqual(volumeMounts);
    }
  }
});

test('values of jobs set environment, annotations and scheduling of Jobs and CronJobs only', async () => {
  const jobs = {
    extraEnv: [{ name: 'NODE_EXTRA_CA_CERTS', value: '/etc/ca/ca.crt' }],
    podAnnotations: { 'example.com/note': 'here' },
    nodeSelector: { disk: 'fast' },
    tolerations: [{ key: 'dedicated', operator: 'Exists' }],
    affinity: { podAntiAffinity: {} },
    priorityClassName: 'low',
  };
  const { extraEnv, podAnnotations, ...scheduling } = jobs;
  const ofApi = ['canary', 'doctor', 'housekeeping', 'migrations', 'restore', 'streams'];
  for (const [chart, names] of [
    ['member', ofApi],
    ['workers', ['consumers']],
    ['family-account', ['consumers', ...ofApi]],
  ] as const) {
    const manifests = await render(helm, chart, JSON.stringify({ jobs }));
    const pods = podsOf(manifests.filter(({ kind }) => kind !== 'Deployment'));
    expect(pods.map(({ spec }) => spec.containers[0].name).sort()).toEqual([...names].sort());
    for (const { metadata, spec } of pods) {
      expect(metadata.annotations).toMatchObject({ ...podAnnotations, 'dapr.io/enabled': 'false' });
      expect(spec).toMatchObject(scheduling);
      expect(spec.containers[0].env).toEqual(expect.arrayContaining(extraEnv));
    }
    for (const { spec } of ofKind(manifests, 'Deployment').map((it) => it.spec.template)) {
      expect(spec).not.toHaveProperty('nodeSelector');
      for (const { env } of spec.containers) expect(env).not.toContainEqual(extraEnv[0]);
    }
  }
});

test('commands for JetStream are left out where they could not connect as sidecars do', async () => {
  for (const chart of charts) {
    const names = async (values: string) =>
      [
        ...ofKind(await render(helm, chart, values), 'CronJob'),
        ...ofKind(await render(helm, chart, values), 'Job'),
      ].map(({ metadata }) => metadata.name);
    const commands = {
      member: ['member-restore'],
      workers: ['workers-consumers'],
      'family-account': ['family-account-restore', 'family-account-consumers'],
    }[chart];
    const streams = chart === 'workers' ? '' : 'jetstream: { streams: { create: false } },';
    expect(await names(`broker: { ${streams} }`)).toEqual(expect.arrayContaining(commands));
    for (const unsupported of [
      `broker: { ${streams} extraMetadata: { domain: hub } }`,
      `broker: { ${streams} kind: kafka }`,
    ])
      for (const name of [...commands, `${chart}-streams`]) expect(await names(unsupported)).not.toContain(name);
  }
});

test('the consumers Job sets what sidecars expect, at install, upgrade and rollback', async () => {
  const values = 'broker: { deliverySeconds: 20, jetstream: { maxAckPending: 4 } }';
  for (const chart of ['workers', 'family-account']) {
    const manifests = await render(helm, chart, values);
    const expected = ofKind(manifests, 'Component').map(({ spec }) =>
      Object.fromEntries(spec.metadata.map(({ name, value }: { name: string; value?: string }) => [name, value])),
    );
    const [job] = ofKind(manifests, 'Job').filter(({ metadata }) => metadata.name === `${chart}-consumers`);
    const [{ args, env }] = job!.spec.template.spec.containers;
    const given = Object.fromEntries(env.map(({ name, value }: { name: string; value?: string }) => [name, value]));
    for (const { ackWait, backOff, maxAckPending } of expected) {
      const seconds: string[] = given.CONSUMER_BACK_OFF_SECONDS.split(',');
      expect([ackWait, backOff, maxAckPending]).toEqual([
        '20s',
        seconds.map((each) => `${each}s`).join(','),
        given.CONSUMER_MAX_ACK_PENDING,
      ]);
      expect(ackWait).toBe(`${seconds[0]}s`);
    }
    const subscriptions = ofKind(manifests, 'Subscription').map(({ scopes, spec }) => `${scopes![0]}-${spec.topic}`);
    const updated = (args as string[]).slice(1).flatMap((each) => {
      const [topic, apps] = each.split('=') as [string, string];
      return apps.split(',').map((app) => `${app}-${topic}`);
    });
    expect(updated.sort()).toEqual(subscriptions.sort());
    expect(job!.metadata.annotations).toMatchObject({ 'helm.sh/hook': 'pre-install,pre-upgrade,pre-rollback' });
    const off = await render(helm, chart, 'broker: { jetstream: { consumers: { update: false } } }');
    expect(ofKind(off, 'Job').map(({ metadata }) => metadata.name)).not.toContain(`${chart}-consumers`);
  }
});

test('a canary’s pod has a deadline beyond the sum of its hop timeouts', async () => {
  for (const [chart, hops, systems] of [
    ['member', 7, 1],
    ['family-account', 15, 2],
  ] as const)
    for (const timeout of [1, 30, 600]) {
      const [pod] = ofKind(await render(helm, chart, `canary: { timeoutSeconds: ${timeout} }`), 'Pod');
      expect(pod!.spec.activeDeadlineSeconds).toBeGreaterThan((hops + systems) * timeout);
    }
});

test('the doctor may only list, and read cluster-wide definitions only if enabled', async () => {
  for (const chart of ['member', 'family-account']) {
    const manifests = await render(helm, chart);
    const roles = ofKind(manifests, 'Role') as unknown as { rules: { verbs: string[]; resources: string[] }[] }[];
    expect(roles.flatMap(({ rules }) => rules).map(({ verbs }) => verbs)).toEqual([['list'], ['list'], ['list']]);
    expect(roles.flatMap(({ rules }) => rules.flatMap(({ resources }) => resources)).sort()).toEqual([
      'components',
      'deployments',
      'pods',
      'resiliencies',
      'subscriptions',
    ]);
    expect(ofKind(manifests, 'ClusterRole')).toEqual([]);
    const more = await render(helm, chart, 'doctor: { readDefinitions: true }');
    expect(ofKind(more, 'ClusterRole')).toMatchObject([
      { rules: [{ verbs: ['get'], resourceNames: expect.any(Array) }] },
    ]);
    const none = await render(helm, chart, 'doctor: { enabled: false }');
    for (const kind of ['Role', 'RoleBinding', 'ClusterRole']) expect(ofKind(none, kind)).toEqual([]);
    expect(ofKind(manifests, 'CronJob').find(({ metadata }) => metadata.name.endsWith('-doctor'))!.spec.suspend).toBe(
      true,
    );
  }
});

test('no credential is a value: all come from existing Secrets', async () => {
  const manifests = await renderAll();
  expect(ofKind(manifests, 'Secret')).toEqual([]);
  const variables = ofKind(manifests, 'Deployment').flatMap(({ spec }) =>
    spec.template.spec.containers.flatMap(({ env }: { env: { name: string; value?: string }[] }) => env),
  );
  const secrets = variables.filter(({ name }) => /TOKEN|SECRET|KEY|DATABASE_URL/.test(name));
  expect(secrets.length).toBeGreaterThan(20);
  expect(secrets.filter(({ value }) => value !== undefined)).toEqual([]);
});
