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

  test('has the remedy of the operators’ guide, although Helm installed it', async () => {
    const cluster = healthyCluster();
    versions(cluster, 'resiliencies.dapr.io')[0].served = false;
    const {
      findings: [diagnosis],
    } = await runDoctor(cluster);
    const guide = readFileSync(join(root, 'docs/operate.md'), 'utf8').split('\n');
    const [, ...commands] = diagnosis!.remedy.split(' &&\n');
    for (const command of commands.slice(0, 2)) expect(guide).toContain(command);
    expect(commands[0]).toContain('--server-side --force-conflicts');
  });

  test('has a remedy that restores dropped fields and restarts the apps', async () => {
    const cluster = healthyCluster();
    versions(cluster, 'resiliencies.dapr.io')[0].served = false;
    const { findings } = await runDoctor(cluster);
    const commands = findings[0]!.remedy.split(' &&\n');
    const restored = commands.filter((it) => it.startsWith('helm get manifest '));
    expect(restored.map((it) => it.split(' ')[3])).toEqual(['family-account', 'member', 'workers']);
    expect(commands.at(-1)).toMatch(/^kubectl rollout restart deployment\/device-login-recorder .*deployment\/member/);
    named(cluster.subscriptions, LISTENER).spec.metadata = {};
    expect((await runDoctor(cluster)).findings).toMatchObject([
      { remedy: findings[0]!.remedy },
      { where: `Subscription ${LISTENER}`, remedy: findings[0]!.remedy },
    ]);
    // A release cannot fix what others have added.
    Object.assign(named(cluster.subscriptions, LISTENER).spec, { deadLetterTopic: 'elsewhere' });
    const [definition, , subscription] = (await runDoctor(cluster)).findings;
    expect(definition!.remedy).toMatch(/kubectl rollout restart (?!.*family-account).*$/);
    expect(subscription!.remedy).toMatch(/\n# then: kubectl rollout restart deployment\/family-account$/);
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
