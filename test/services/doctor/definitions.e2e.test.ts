import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { print } from '../../../services/doctor/report.ts';
import { root } from '../../support/stack.ts';
import { LISTENER, look, named, type Resource, type World, well } from './world.ts';

describe('A definition that is older than what the charts make with it', () => {
  const versions = (world: World, name: string): Resource[] => named(world.definitions!, name).spec.versions;

  test('does not serve the version', async () => {
    const world = well();
    versions(world, 'subscriptions.dapr.io')[1].served = false;
    expect((await look(world)).findings).toMatchObject([
      {
        where: 'CustomResourceDefinition subscriptions.dapr.io',
        what: expect.stringMatching(/does not serve v2alpha1/),
      },
    ]);
  });

  test('can be replaced as the operators’ guide says, although Helm made it', async () => {
    const world = well();
    versions(world, 'resiliencies.dapr.io')[0].served = false;
    const {
      findings: [found],
    } = await look(world);
    const guide = readFileSync(join(root, 'docs/operate.md'), 'utf8').split('\n');
    const [, ...commands] = found!.remedy.split(' &&\n');
    for (const command of commands.slice(0, 2)) expect(guide).toContain(command);
    expect(commands[0]).toContain('--server-side --force-conflicts');
  });

  test('has thrown away what the charts set: that is made again, and read, when nothing else is wrong', async () => {
    const world = well();
    versions(world, 'resiliencies.dapr.io')[0].served = false;
    const { findings } = await look(world);
    const commands = findings[0]!.remedy.split(' &&\n');
    const restored = commands.filter((it) => it.startsWith('helm get manifest '));
    expect(restored.map((it) => it.split(' ')[3])).toEqual(['family-account', 'member', 'workers']);
    expect(commands.at(-1)).toMatch(/^kubectl rollout restart deployment\/device-login-recorder .*deployment\/member/);
    named(world.subscriptions, LISTENER).spec.metadata = {};
    expect((await look(world)).findings).toMatchObject([
      { remedy: findings[0]!.remedy },
      { where: `Subscription ${LISTENER}`, remedy: findings[0]!.remedy },
    ]);
    // What others have made is nothing that a release could mend.
    Object.assign(named(world.subscriptions, LISTENER).spec, { deadLetterTopic: 'elsewhere' });
    const [definition, , subscription] = (await look(world)).findings;
    expect(definition!.remedy).toMatch(/kubectl rollout restart (?!.*family-account).*$/);
    expect(subscription!.remedy).toMatch(/\n# then: kubectl rollout restart deployment\/family-account$/);
  });

  test('does not know a field', async () => {
    const world = well();
    const text = { type: 'string' };
    const entry = { type: 'object', properties: { name: text, value: {}, envRef: text } };
    const spec = { properties: { type: text, version: text, metadata: { type: 'array', items: entry } } };
    const schema = { properties: { scopes: { type: 'array', items: text }, spec } };
    versions(world, 'components.dapr.io')[0].schema.openAPIV3Schema = schema;
    expect((await look(world)).findings).toEqual([]);
    delete (entry.properties as { envRef?: unknown }).envRef;
    expect((await look(world)).findings).toMatchObject([
      {
        where: 'CustomResourceDefinition components.dapr.io',
        what: expect.stringMatching(/spec\.metadata\.\[\]\.envRef/),
      },
    ]);
  });

  test('is not looked for where it may not be read, and that is said', async () => {
    const world = well();
    world.definitions = undefined;
    const found = await look(world);
    expect(found.findings).toEqual([]);
    expect(print(found)).toMatch(/may not be read/);
  });
});
