import { charts } from '../../docs/charts.ts';
import { developmentSecrets } from '../../k8s/secrets.ts';
import { helm as helmPrograms } from '../../local/toolchain/programs.ts';
import { API_PREFIX } from '../../ops/jetstream/accounts.ts';
import { type Manifest, programPath, render, renderNotes } from '../support/helm.ts';
import { ofKind, podsOf } from './manifests.ts';

let helm: string;
beforeAll(async () => {
  helm = await programPath(helmPrograms[0]!);
});

/** Returns what the sidecar of each app reads from Secrets, by app. */
const sidecarSecrets = (manifests: readonly Manifest[]): Record<string, string> =>
  Object.fromEntries(
    ofKind(manifests, 'Deployment').map(({ metadata, spec }) => [
      metadata.name,
      spec.template.metadata.annotations['dapr.io/env-from-secret'],
    ]),
  );

interface SecretKey {
  readonly name: string;
  readonly key: string;
}
/** Returns the Secret keys that Jobs and CronJobs have for NATS_URL. */
const natsOf = (manifests: readonly Manifest[]): SecretKey[] =>
  podsOf(manifests).flatMap(({ spec }) =>
    spec.containers.flatMap(({ env }: { env: { name: string; valueFrom?: { secretKeyRef: SecretKey } }[] }) =>
      env.flatMap(({ name, valueFrom }) => (name === 'NATS_URL' ? [valueFrom!.secretKeyRef] : [])),
    ),
  );

describe.each(charts)('The chart %s with a Secret for each app', (chart) => {
  test('gives each sidecar its own Secret and Jobs the administrator’s, and all of them exist', async () => {
    const manifests = await render(helm, chart);
    const sidecars = sidecarSecrets(manifests);
    expect(Object.keys(sidecars).length).toBe(chart === 'workers' ? 5 : 1);
    for (const [app, given] of Object.entries(sidecars)) expect(given).toBe(`NATS_URL=broker-${app}:url`);
    const jobs = natsOf(manifests);
    expect(jobs.length).toBe({ member: 2, workers: 1, 'family-account': 3 }[chart]);
    for (const job of jobs) expect(job).toEqual({ name: 'broker-administrator', key: 'url' });
    const secrets = developmentSecrets();
    for (const name of [...Object.keys(sidecars).map((app) => `broker-${app}`), 'broker-administrator'])
      expect(new URL(secrets[name]!.url!)).toMatchObject({ username: name.replace('broker-', ''), host: 'nats:4222' });
    expect(await renderNotes(helm, chart)).not.toContain('WARNING');
  });

  test('gives an app without its own Secret the shared one, and warns of it in the notes', async () => {
    const manifests = await render(helm, chart, 'broker: { existingSecret: shared-secret }');
    expect(JSON.stringify(manifests)).not.toContain('shared-secret');
    const app = Object.keys(sidecarSecrets(manifests))[0]!;
    const without = `broker: { existingSecret: shared-secret, appSecrets: { ${app}: "" } }`;
    expect(sidecarSecrets(await render(helm, chart, without))[app]).toBe('NATS_URL=shared-secret:url');
    const notes = await renderNotes(helm, chart, without);
    expect(notes).toContain(
      `WARNING: ${app} connects to the broker with the Secret shared-secret, which all apps share`,
    );
  });

  test('sets the JetStream API prefix, and recreates bound consumers only with a prefix', async () => {
    for (const [apiPrefix, given] of [
      [API_PREFIX, { apiPrefix: API_PREFIX, recreated: 'true' }],
      ['', { apiPrefix: undefined, recreated: 'false' }],
    ] as const) {
      const manifests = await render(helm, chart, `broker: { jetstream: { apiPrefix: "${apiPrefix}" } }`);
      const prefixes = ofKind(manifests, 'Component').map(
        ({ spec }) => spec.metadata.find(({ name }: { name: string }) => name === 'apiPrefix')?.value,
      );
      expect(new Set(prefixes)).toEqual(new Set([given.apiPrefix]));
      const recreated = podsOf(manifests).flatMap(({ spec }) =>
        spec.containers.flatMap(({ env }: { env: { name: string; value?: string }[] }) =>
          env.flatMap(({ name, value }) => (name === 'CONSUMER_RECREATE_BOUND' ? [value] : [])),
        ),
      );
      expect(recreated).toEqual(chart === 'member' ? [] : [given.recreated]);
    }
  });

  test('rejects a Secret for an app that is not in the chart', async () => {
    await expect(render(helm, chart, 'broker: { appSecrets: { unknown-app: broker } }')).rejects.toThrow('unknown-app');
  });

  test('uses the Secret of each app for Kafka too', async () => {
    const kafka = 'broker: { kind: kafka, extraSecretMetadata: { caCert: ca } }';
    for (const [app, given] of Object.entries(sidecarSecrets(await render(helm, chart, kafka)))) {
      const names = given.split(',').map((each) => each.replace(/^\w+=/, '').split(':')[0]);
      expect(names).toEqual(Array.from({ length: 4 }, () => `broker-${app}`));
    }
  });
});
