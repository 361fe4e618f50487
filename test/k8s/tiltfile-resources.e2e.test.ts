import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NAMESPACE } from '../../k8s/cluster.ts';
import { temporaryFolder } from '../support/folder.ts';
import { called, evaluate, isWorkload, objects, objectsOf, open, podOf, resources } from './tilt.ts';

beforeAll(open);

test('all objects of the charts and k8s/ are deployed exactly once', () => {
  const names = objects.filter(isWorkload).map(({ metadata }) => metadata.name);
  expect(names.sort()).toEqual(
    [
      ...['postgres', 'nats', 'identity-provider', 'member-database', 'family-account-database'],
      ...['member', 'family-account'].flatMap((it) => [
        it,
        ...['migrations', 'streams', 'housekeeping', 'restore', 'doctor'].map((job) => `${it}-${job}`),
      ]),
      ...['workers-consumers', 'family-account-consumers'],
      ...[
        'publish-recorder',
        'device-login-recorder',
        'other-device-logout',
        'other-member-logout',
        'external-broadcaster',
      ],
    ].sort(),
  );
  expect(objects.filter(({ kind }) => kind === 'Pod')).toEqual([]);
  const all = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  expect(all.length).toBe(new Set(all).size);
  for (const { kind, metadata } of objects) if (kind !== 'Namespace') expect(metadata.namespace).toBe(NAMESPACE);
});

test('every object belongs to exactly one resource, and every resource has one label', () => {
  expect(
    called('k8s_resource')
      .flatMap((it) => it.workload ?? [])
      .sort(),
  ).toEqual(
    objects
      .filter(isWorkload)
      .map(({ metadata }) => metadata.name)
      .sort(),
  );
  // Tilt groups a Service with its workload.
  const others = objects.filter((it) => !isWorkload(it) && it.kind !== 'Service');
  expect(
    called('k8s_resource')
      .flatMap((it) => it.objects ?? [])
      .sort(),
  ).toEqual(others.map(({ kind, metadata }) => `${metadata.name}:${kind.toLowerCase()}`).sort());
  for (const it of [...called('k8s_resource'), ...called('local_resource')]) expect(it.labels).toHaveLength(1);
});

test('every dependency of a resource exists, and there is no cycle', () => {
  const dependencies = new Map<string, string[]>();
  for (const it of [...called('k8s_resource'), ...called('local_resource')])
    dependencies.set(it.workload ?? it.new_name ?? it.name, it.resource_deps ?? []);
  expect(dependencies.size).toBe(resources().length);
  const expectNoCycle = (name: string, path: string[] = []): void => {
    expect(path).not.toContain(name);
    for (const each of dependencies.get(name) ?? [`no resource ${name}`]) {
      expect([...dependencies.keys()]).toContain(each);
      expectNoCycle(each, [...path, name]);
    }
  };
  for (const name of dependencies.keys()) expectNoCycle(name);
  // A dependency that is missing when an app starts would cost it restarts.
  expect(dependencies.get('member')).toEqual(
    expect.arrayContaining([
      'dapr',
      'nats',
      'member-database',
      'member-migrations',
      'member-streams',
      'member-objects',
    ]),
  );
});

test('both APIs are forwarded and linked to their documentation', () => {
  const forwards = called('k8s_resource').filter((it) => it.port_forwards?.length > 0);
  expect(forwards.map((it) => it.workload)).toEqual(['member', 'family-account']);
  const ports = forwards.flatMap((it) => it.port_forwards.map((each: { local_port: number }) => each.local_port));
  expect(new Set(ports).size).toBe(2);
  for (const {
    port_forwards: [forward],
    links,
    workload,
  } of forwards) {
    expect(links[0].url).toBe(`http://localhost:${forward.local_port}/docs/events`);
    const pod = podOf(objects.find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === workload)!);
    const served = pod.containers.flatMap(({ ports = [] }) => ports.map(({ containerPort }) => containerPort));
    expect(served).toContain(forward.container_port);
  }
});

test('a broker without a manifest for development clusters is refused with the choices', async () => {
  expect(objectsOf(await evaluate({ settings: { broker: 'jetstream' } }))).toEqual(objects);
  await expect(evaluate({ settings: { broker: 'kafka' } })).rejects.toThrow(
    'There is no manifest for broker kafka: use one of jetstream',
  );
  await expect(evaluate({ settings: { brokr: 'kafka' } })).rejects.toThrow('unknown flag: --brokr');
});

test.each([
  ['an unknown function', 'k8s_yml("x")', 'undefined: k8s_yml'],
  ['an unknown argument', 'k8s_resource("x", label="y")', 'knows no argument "label"'],
  ['text in place of a file name', 'k8s_yaml("kind: Pod")', 'would be the name of a file'],
  ['a missing file', 'read_file("k8s/none.yaml")', 'no such file'],
])('the interpreter refuses %s', async (_, text, complaint) => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'Tiltfile');
  await writeFile(file, text);
  await expect(evaluate({ file })).rejects.toThrow(complaint);
});
