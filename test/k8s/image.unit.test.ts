import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { digestOf, SOURCES } from '../../k8s/image.ts';
import { temporaryFolder } from '../support/folder.ts';

const root = join(import.meta.dirname, '../..');
const read = (name: string) => readFileSync(join(root, name), 'utf8');
/** Instructions of the Dockerfile by stage, one per line. */
const stages = read('Dockerfile')
  .replaceAll('\\\n', ' ')
  .split('\n')
  .filter((line) => /^[A-Z]/.test(line))
  .reduce<string[][]>((all, line) => {
    if (line.startsWith('FROM ') || all.length === 0) all.push([]);
    all.at(-1)!.push(line);
    return all;
  }, []);
const [before, dependencies, last] = stages as [string[], string[], string[]];
const { version, dependencies: packages } = JSON.parse(read('package.json'));

describe('The image', () => {
  test('runs as an unprivileged user, and nothing is changed after that', () => {
    expect(last.filter((line) => line.startsWith('USER '))).toEqual(['USER 65532:65532']);
    const rest = last.slice(last.indexOf('USER 65532:65532') + 1);
    expect(rest).toEqual(['ENTRYPOINT ["node"]', expect.stringMatching(/^CMD /)]);
    expect(existsSync(join(root, JSON.parse(rest[1]!.replace('CMD ', ''))[0]))).toBe(true);
  });

  test('has the production dependencies, installed without their scripts', () => {
    const installs = stages.flat().filter((line) => /^RUN .*npm (ci|install)/.test(line));
    expect(installs).toHaveLength(1);
    expect(installs[0]).toMatch(/ npm ci .*--omit=dev .*--ignore-scripts/);
    expect(dependencies).toContain(installs[0]);
    expect(last).toContainEqual(expect.stringMatching(/^RUN rm -rf .*\/npm .*\/npx /));
  });

  test('is built on the exact Node version of the tests', () => {
    expect(before).toEqual([
      expect.stringMatching(`^ARG NODE_IMAGE=node:${packages.node}-\\w+-slim(@sha256:[0-9a-f]{64})?$`),
    ]);
    expect(`${dependencies[0]}; ${last[0]}`).toMatch(/^FROM \$\{NODE_IMAGE\} AS dependencies; FROM \$\{NODE_IMAGE\}$/);
  });

  test('has labels for title, description, version and revision', () => {
    const labels = last.filter((line) => line.startsWith('LABEL ')).join(' ');
    for (const [label, value] of [
      ['title', 'member-system'],
      ['description', '.+'],
      ['version', '[$]{VERSION}'],
      ['revision', '[$]{REVISION}'],
    ])
      expect(labels).toMatch(new RegExp(`org\\.opencontainers\\.image\\.${label}="${value}"`));
    for (const name of ['VERSION', 'REVISION'])
      expect(last).toContainEqual(expect.stringMatching(new RegExp(`^ARG ${name}=`)));
  });

  test('copies exactly the sources of its development tag, and .dockerignore hides the rest', () => {
    const copied = stages
      .flat()
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
      .flatMap((line) => line.split(' ').slice(1, -1));
    expect(new Set([...copied, 'Dockerfile', '.dockerignore'])).toEqual(new Set(SOURCES));
    const [all, ...but] = read('.dockerignore').trim().split('\n');
    expect(all).toBe('*');
    expect(new Set(but)).toEqual(new Set(copied.map((it) => `!${it}`)));
  });
});

test('a development tag changes with every file and file name, and with nothing else', async () => {
  await using folder = await temporaryFolder();
  const write = (name: string, text: string) => writeFile(join(folder.path, name), text);
  const digest = () => digestOf(folder.path, ['file', 'lib']);
  await mkdir(join(folder.path, 'lib/within'), { recursive: true });
  await write('file', 'a');
  await write('lib/within/one.ts', '1');
  const first = digest();
  await write('other', 'x');
  expect(digest()).toBe(first);
  await write('lib/within/two.ts', '');
  const second = digest();
  expect(second).not.toBe(first);
  await write('file', 'b');
  expect(new Set([first, second, digest()]).size).toBe(3);
});

describe('`npm run image`', () => {
  /** Runs the script with only these programs, which record their calls. @param programs exit codes of their commands */
  async function build(programs: Record<string, { info?: number; build?: number }>) {
    await using folder = await temporaryFolder();
    const callLog = join(folder.path, 'calls');
    await writeFile(callLog, '');
    for (const [name, { info = 0, build = 0 }] of Object.entries(programs)) {
      const script = `#!/bin/sh\n[ "$1" = info ] && exit ${info}\necho "${name} $@" >> ${callLog}\nexit ${build}\n`;
      await writeFile(join(folder.path, name), script, { mode: 0o755 });
    }
    const run = promisify(execFile)(process.execPath, [join(root, 'k8s/image.ts'), '--tag', 'there/it:1'], {
      env: { PATH: folder.path },
    });
    const { stdout, stderr } = await run.catch((error: { stdout: string; stderr: string }) => error);
    return { output: stdout + stderr, calls: (await readFile(callLog, 'utf8')).trim() };
  }
  const rest = `--tag there/it:1 --build-arg VERSION=${version} --build-arg REVISION=unknown ${root}`;

  test('builds with docker where it works', async () => {
    const { output, calls } = await build({ docker: {}, podman: {}, buildah: {} });
    expect(output).toBe('there/it:1 was built by docker.\n');
    expect(calls).toBe(`docker build ${rest}`);
  });

  test('builds with podman where docker has no daemon', async () => {
    const { output, calls } = await build({ docker: { info: 1 }, podman: {}, buildah: {} });
    expect(output).toBe('there/it:1 was built by podman.\n');
    expect(calls).toBe(`podman build --format docker ${rest}`);
  });

  test('builds with buildah where there is nothing else', async () => {
    const { output, calls } = await build({ buildah: {} });
    expect(output).toBe('there/it:1 was built by buildah.\n');
    expect(calls).toBe(`buildah build --layers --format docker ${rest}`);
  });

  test('names what to install where there is no builder', async () => {
    expect(await build({ docker: { info: 1 } })).toEqual({
      output: 'Cannot build an image: install one of docker, podman, buildah\n',
      calls: '',
    });
  });

  test('fails without trying another builder when the first one fails', async () => {
    const { output, calls } = await build({ docker: { build: 1 }, podman: {} });
    expect(output).toBe('docker failed to build there/it:1\n');
    expect(calls).toBe(`docker build ${rest}`);
  });
});
