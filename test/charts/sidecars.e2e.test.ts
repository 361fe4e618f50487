import { charts } from '../../docs/charts.ts';
import { helmPrograms, type Manifest, render } from '../support/helm.ts';

let helm: string;
beforeAll(async () => {
  [helm] = (await helmPrograms()) as [string];
});

interface Pod {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly containers: { name: string; env: { name: string; value?: string }[] }[] };
}
const podsOf = (manifests: readonly Manifest[], kind: string): Pod[] =>
  manifests
    .filter((it) => it.kind === kind)
    .map((it) => (kind === 'Pod' ? it : (it.spec.jobTemplate?.spec ?? it.spec).template) as Pod);
const enabled = (pods: readonly Pod[]) => pods.map(({ metadata }) => metadata.annotations['dapr.io/enabled']);

describe.each(charts)('The chart %s', (chart) => {
  test('has sidecars in Deployments, and none in Jobs, which a sidecar would keep running', async () => {
    const manifests = await render(helm, chart, 'dapr: { nativeSidecar: true }');
    const stays = podsOf(manifests, 'Deployment');
    expect(stays.length).toBeGreaterThan(0);
    expect(enabled(stays)).toEqual(stays.map(() => 'true'));
    const ends = ['Job', 'CronJob', 'Pod'].flatMap((kind) => podsOf(manifests, kind));
    if (chart !== 'workers') expect(ends.length).toBeGreaterThan(3);
    expect(enabled(ends)).toEqual(ends.map(() => 'false'));
  });

  test.each([
    ['has a native sidecar stopped by its app only', true, ['app']],
    ['has any other sidecar stopped by Kubernetes', false, []],
  ])('%s', async (_, nativeSidecar, expected) => {
    const manifests = await render(helm, chart, `dapr: { nativeSidecar: ${nativeSidecar} }`);
    for (const { metadata, spec } of podsOf(manifests, 'Deployment')) {
      expect(metadata.annotations['dapr.io/enable-native-sidecar']).toBe(String(nativeSidecar));
      const stopping = spec.containers.filter(({ env }) => env.some(({ name }) => name === 'STOP_SIDECAR'));
      expect(stopping.map(({ name }) => name)).toEqual(expected);
    }
    // The Configuration has to allow the shutdown call.
    const [configuration] = manifests.filter(({ kind }) => kind === 'Configuration');
    expect(configuration!.spec.api.allowed).toContainEqual({ name: 'shutdown', version: 'v1.0', protocol: 'http' });
  });
});
