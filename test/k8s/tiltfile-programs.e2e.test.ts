import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { temporaryFolder } from '../support/folder.ts';
import { root } from '../support/stack.ts';
import { called, calls, evaluate, isWorkload, objects, open, podOf, resources, type TiltCall } from './tilt.ts';

beforeAll(open);

test('every project image is built, and saved files are synced to long-running containers', () => {
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
  const deployments = objects.filter(({ kind }) => kind === 'Deployment');
  for (const it of deployments)
    for (const { name, securityContext, env = [] } of podOf(it).containers) {
      expect(securityContext).toMatchObject({ readOnlyRootFilesystem: false, allowPrivilegeEscalation: false });
      const delays = env.filter((it: { name: string }) =>
        ['SHUTDOWN_DELAY_SECONDS', 'SIDECAR_DRAIN_SECONDS'].includes(it.name),
      );
      expect(delays.map(({ value }: { value: string }) => value)).toEqual(name === 'app' ? ['0', '0'] : []);
    }
});

test('long-running programs restart when their sources change, and Jobs end', async () => {
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
  const invocations = [
    ...called('local_resource').map((it) => it.cmd.split(' ')),
    ...called('cmd_button').map((it) => it.argv),
  ] as string[][];
  expect(invocations.length).toBeGreaterThan(8);
  for (const [program, ...words] of invocations) {
    if (program === 'npm') expect(Object.keys(scripts)).toContain(words[2]);
    else if (program === 'node') expect(commands).toContain(`  async ${words[1]}(print) {`);
    else expect(program).toBe('kubectl');
  }
  for (const { resource, text } of called('cmd_button')) {
    expect(resources()).toContain(resource);
    expect(text).not.toBe('');
  }
  const names = called('cmd_button').map((it) => it.name);
  expect(names).toEqual(['play-the-story', 'send-events', 'kill-the-broker', 'stop-the-relay']);
});

test('`tilt ci` runs the story and the tests, `tilt up` runs them only on demand', async () => {
  const autoStarts = (all: TiltCall[]) =>
    called('local_resource', all)
      .filter((it) => it.labels[0] === 'tests')
      .map((it) => [it.name, it.auto_init]);
  expect(autoStarts(calls)).toEqual([
    ['story', false],
    ['canary', false],
    ['doctor', false],
    ['denied', false],
    ['test-fast', false],
  ]);
  expect(autoStarts(await evaluate({ subcommand: 'ci' }))).toEqual([
    ['story', true],
    ['canary', true],
    ['doctor', true],
    ['denied', true],
    ['test-fast', true],
  ]);
});

test('no resource or button needs a Helm release, since Tilt creates none', () => {
  const commands = [
    ...called('local_resource').map((it) => it.cmd.split(' ')),
    ...called('cmd_button').map((it) => it.argv),
  ] as string[][];
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const clusterTests = readdirSync(join(root, 'test/cluster')).filter((name) => name.endsWith('.cluster.test.ts'));
  const clusterRuns = commands.filter(([program, , , script]) => program === 'npm' && script === 'test:cluster');
  expect(clusterRuns).toHaveLength(1);
  for (const [, , , , , ...paths] of clusterRuns) {
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

test('the canary runs in a container with its settings and passes both systems', () => {
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
