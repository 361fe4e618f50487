import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { NAMESPACE } from '../../k8s/cluster.ts';
import { temporaryFolder } from '../local/folder.ts';
import { root } from '../support/stack.ts';
import { evaluate, objectsOf, type TiltCall, type TiltObject } from './tilt.ts';

let calls: TiltCall[];
let objects: TiltObject[];
beforeAll(async () => {
  calls = await evaluate();
  objects = objectsOf(calls);
});

const called = (name: string, all = calls) => all.filter((it) => it.function === name).map((it) => it.arguments);
const WORKLOADS = ['Deployment', 'StatefulSet', 'Job', 'CronJob'];
const isWorkload = ({ kind }: TiltObject) => WORKLOADS.includes(kind);
const podOf = ({ kind, spec }: TiltObject) => (kind === 'CronJob' ? spec.jobTemplate.spec : spec).template.spec;
const resources = () => [
  ...called('k8s_resource').map((it) => it.workload ?? it.new_name),
  ...called('local_resource').map((it) => it.name),
];

test('all that the charts and k8s/ make is deployed, and each of it once', () => {
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

test('every workload and every other object belongs to exactly one resource, and every resource has a label', () => {
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
  // A Service comes with the workload that it leads to.
  const others = objects.filter((it) => !isWorkload(it) && it.kind !== 'Service');
  expect(
    called('k8s_resource')
      .flatMap((it) => it.objects ?? [])
      .sort(),
  ).toEqual(others.map(({ kind, metadata }) => `${metadata.name}:${kind.toLowerCase()}`).sort());
  for (const it of [...called('k8s_resource'), ...called('local_resource')]) expect(it.labels).toHaveLength(1);
});

test('whatever a resource waits for is there, and nothing waits for itself', () => {
  const waits = new Map<string, string[]>();
  for (const it of [...called('k8s_resource'), ...called('local_resource')])
    waits.set(it.workload ?? it.new_name ?? it.name, it.resource_deps ?? []);
  expect(waits.size).toBe(resources().length);
  const behind = (name: string, before: string[] = []): void => {
    expect(before).not.toContain(name);
    for (const each of waits.get(name) ?? [`no resource ${name}`]) {
      expect([...waits.keys()]).toContain(each);
      behind(each, [...before, name]);
    }
  };
  for (const name of waits.keys()) behind(name);
  // What is not there yet when an app starts costs it restarts.
  expect(waits.get('member')).toEqual(
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

test('every image of this project is built, and what is saved gets into the containers that stay', () => {
  const built = called('docker_build').map((it) => it.ref);
  const images = objects
    .filter(isWorkload)
    .flatMap((it) => podOf(it).containers.map(({ image }: { image: string }) => image));
  const own = images.filter((image) => image.startsWith('member-system'));
  expect(own.length).toBeGreaterThan(10);
  for (const image of own) expect(built).toContain(image.split(':')[0]);
  const [development] = called('docker_build').filter((it) => it.live_update);
  expect(built).toContain(/^FROM (\S+)$/m.exec(development!.dockerfile_contents)![1]);
  for (const { local_path: from, remote_path: to } of called('sync')) {
    expect(existsSync(join(root, from))).toBe(true);
    expect(development!.only).toContain(from);
    expect(readFileSync(join(root, 'Dockerfile'), 'utf8')).toContain(`COPY ${to.replace('/app/', '')} `);
  }
  const staying = objects.filter(({ kind }) => kind === 'Deployment');
  for (const it of staying)
    for (const { name, securityContext, env = [] } of podOf(it).containers) {
      expect(securityContext).toMatchObject({ readOnlyRootFilesystem: false, allowPrivilegeEscalation: false });
      const waits = env.filter((it: { name: string }) => ['PART_SECONDS', 'LINGER_SECONDS'].includes(it.name));
      expect(waits.map(({ value }: { value: string }) => value)).toEqual(name === 'app' ? ['0', '0'] : []);
    }
});

test('programs that stay start again when their sources change, and Jobs come to an end', async () => {
  const { dockerfile_contents: contents } = called('docker_build').find((it) => it.live_update)!;
  const [shell, ...words] = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(contents)![1]!) as [string, ...string[]];
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, 'node'), '#!/bin/sh\necho "$@"\n', { mode: 0o755 });
  const own = objects
    .filter(isWorkload)
    .flatMap((it) =>
      (podOf(it).containers as { image: string; args: string[] }[])
        .filter(({ image }) => image.startsWith('member-system'))
        .map(({ args }) => ({ kind: it.kind, args })),
    );
  for (const { kind, args } of own) {
    expect(existsSync(join(root, args[0]!))).toBe(true);
    const env = { PATH: `${folder.path}:/bin:/usr/bin` };
    const { stdout } = await promisify(execFile)(shell, [...words, ...args], { env });
    const watched = kind === 'Deployment' ? ['--watch'] : [];
    expect([kind, stdout.trim()]).toEqual([kind, [...watched, ...args].join(' ')]);
  }
});

test('every command that a resource or a button runs exists', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const commands = readFileSync(join(root, 'k8s/cluster.ts'), 'utf8');
  const asked = [
    ...called('local_resource').map((it) => it.cmd.split(' ')),
    ...called('cmd_button').map((it) => it.argv),
  ] as string[][];
  expect(asked.length).toBeGreaterThan(8);
  for (const [program, ...words] of asked) {
    if (program === 'npm') expect(Object.keys(scripts)).toContain(words[2]);
    else if (program === 'node') expect(commands).toContain(`  async ${words[1]}(say) {`);
    else expect(program).toBe('kubectl');
  }
  for (const { resource, text } of called('cmd_button')) {
    expect(resources()).toContain(resource);
    expect(text).not.toBe('');
  }
  const names = called('cmd_button').map((it) => it.name);
  expect(names).toEqual(['play-the-story', 'send-events', 'kill-the-broker', 'stop-the-relay']);
});

test('both APIs can be reached, and lead to their pages', () => {
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

test('`tilt ci` plays the story and runs the tests; `tilt up` only when it is asked to', async () => {
  const begins = (all: TiltCall[]) =>
    called('local_resource', all)
      .filter((it) => it.labels[0] === 'tests')
      .map((it) => [it.name, it.auto_init]);
  expect(begins(calls)).toEqual([
    ['story', false],
    ['canary', false],
    ['doctor', false],
    ['denied', false],
    ['test-fast', false],
  ]);
  expect(begins(await evaluate({ subcommand: 'ci' }))).toEqual([
    ['story', true],
    ['canary', true],
    ['doctor', true],
    ['denied', true],
    ['test-fast', true],
  ]);
});

test('no resource and no button asks for a release of Helm’s, which Tilt does not make', () => {
  const commands = [
    ...called('local_resource').map((it) => it.cmd.split(' ')),
    ...called('cmd_button').map((it) => it.argv),
  ] as string[][];
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const clusterTests = readdirSync(join(root, 'test/cluster')).filter((name) => name.endsWith('.cluster.test.ts'));
  const asked = commands.filter(([program, , , script]) => program === 'npm' && script === 'test:cluster');
  expect(asked).toHaveLength(1);
  for (const [, , , , , ...paths] of asked) {
    // Without a path all of them run.
    const chosen = clusterTests.filter((name) =>
      paths.length === 0 ? true : paths.some((path) => join('test/cluster', name).startsWith(path)),
    );
    expect(chosen).not.toEqual([]);
    for (const name of chosen)
      expect(readFileSync(join(root, 'test/cluster', name), 'utf8')).not.toMatch(/helm|installChart/i);
  }
  for (const [program, , , script] of commands) {
    expect(program).not.toBe('helm');
    if (program === 'npm') expect(['cluster:test', 'cluster:install']).not.toContain(script);
  }
  expect(scripts['test:cluster']).toMatch(/--selectProjects cluster /);
});

test('the canary goes out from the container that has what it needs, and through both systems', () => {
  const { cmd } = called('local_resource').find((it) => it.name === 'canary')!;
  const [, deployment, container, url, program, systems] =
    /^kubectl .* exec deployment\/(\S+) --container (\S+) -- env API_URL=(\S+) node (\S+) (.*)$/.exec(cmd)!;
  const pod = podOf(objects.find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === deployment)!);
  const { env, ports } = pod.containers.find(({ name }: { name: string }) => name === container);
  expect(env.map(({ name }: { name: string }) => name)).toContain('OPERATOR_TOKEN');
  expect(ports.map(({ containerPort }: { containerPort: number }) => containerPort)).toContain(
    Number(new URL(url!).port),
  );
  expect(existsSync(join(root, program!))).toBe(true);
  expect(systems!.split(' ')).toEqual(['family-account', 'member']);
});

test('a broker that a development cluster has no manifest for is refused with a sentence', async () => {
  expect(objectsOf(await evaluate({ settings: { broker: 'jetstream' } }))).toEqual(objects);
  await expect(evaluate({ settings: { broker: 'kafka' } })).rejects.toThrow(
    'There is no broker kafka here: one of jetstream',
  );
  await expect(evaluate({ settings: { brokr: 'kafka' } })).rejects.toThrow('unknown flag: --brokr');
});

test.each([
  ['a function that Tilt does not have', 'k8s_yml("x")', 'undefined: k8s_yml'],
  ['an argument that it does not take', 'k8s_resource("x", label="y")', 'knows no argument "label"'],
  ['text where it takes a file’s name', 'k8s_yaml("kind: Pod")', 'would be the name of a file'],
  ['a file that is not there', 'read_file("k8s/none.yaml")', 'no such file'],
])('the interpreter refuses %s', async (_, text, complaint) => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'Tiltfile');
  await writeFile(file, text);
  await expect(evaluate({ file })).rejects.toThrow(complaint);
});
