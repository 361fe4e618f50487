import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { print } from '../../../ops/doctor/report.ts';
import { root } from '../../support/stack.ts';
import { type FakeCluster, healthyCluster, LISTENER, named, type Resource, runDoctor } from './fake-cluster.ts';

describe('An outdated CustomResourceDefinition', () => {
  const versions = (cluster: FakeCluster, name: string): Resource[] => named(cluster.definitions!, name).spec.versions;

  test('is found when it does not serve the version', async () => {
    const cluster = healthyCluster();
    versions(cluster, 'subscriptions.dapr.io')[1].served = false;
    expect((await runDoctor(cluster)).findings).toMatchObject([
      {
        where: 'CustomResourceDefinition subscriptions.dapr.io',
        what: expect.stringMatching(/does not serve v2alpha1/),
      },
    ]);
  });

  test('has the remedy of the operators’ guide, although Helm installed it', () => {
    const [guide, runbook] = ['operate', 'doctor'].map((page) => readFileSync(join(root, `docs/${page}.md`), 'utf8'));
    const commands = guide!
      .split('\n')
      .filter((it) => /^helm show crds|^kubectl rollout restart .*dapr-operator/.test(it));
    expect(commands).toHaveLength(2);
    expect(commands[0]).toContain('--server-side --force-conflicts');
    for (const command of commands) expect(runbook).toContain(command);
  });

  test('has a remedy that restores dropped fields and restarts the apps', async () => {
    const cluster = healthyCluster();
    versions(cluster, 'resiliencies.dapr.io')[0].served = false;
    const { findings } = await runDoctor(cluster);
    expect(findings[0]!.remedy).toMatch(
      /^Replace Dapr's definitions, restore the releases family-account, member and workers, then restart device-login-recorder, .* member.*#outdated-definitions$/,
    );
    named(cluster.subscriptions, LISTENER).spec.metadata = {};
    expect((await runDoctor(cluster)).findings).toMatchObject([
      { remedy: findings[0]!.remedy },
      { where: `Subscription ${LISTENER}`, remedy: findings[0]!.remedy },
    ]);
    // A release cannot fix what others have added.
    Object.assign(named(cluster.subscriptions, LISTENER).spec, { deadLetterTopic: 'elsewhere' });
    const [definition, , subscription] = (await runDoctor(cluster)).findings;
    expect(definition!.remedy).toMatch(/then restart (?!.*family-account)/);
    expect(subscription!.remedy).toMatch(/, then restart family-account: /);
  });

  test('is found when it lacks a field', async () => {
    const cluster = healthyCluster();
    const text = { type: 'string' };
    const entry = { type: 'object', properties: { name: text, value: {}, envRef: text } };
    const spec = { properties: { type: text, version: text, metadata: { type: 'array', items: entry } } };
    const schema = { properties: { scopes: { type: 'array', items: text }, spec } };
    versions(cluster, 'components.dapr.io')[0].schema.openAPIV3Schema = schema;
    expect((await runDoctor(cluster)).findings).toEqual([]);
    delete (entry.properties as { envRef?: unknown }).envRef;
    expect((await runDoctor(cluster)).findings).toMatchObject([
      {
        where: 'CustomResourceDefinition components.dapr.io',
        what: expect.stringMatching(/spec\.metadata\.\[\]\.envRef/),
      },
    ]);
  });

  test('is reported as not examined when reading it is forbidden', async () => {
    const cluster = healthyCluster();
    cluster.definitions = undefined;
    const diagnosis = await runDoctor(cluster);
    expect(diagnosis.findings).toEqual([]);
    expect(print(diagnosis)).toMatch(/^Not checked: .*CustomResourceDefinitions/m);
  });
});
