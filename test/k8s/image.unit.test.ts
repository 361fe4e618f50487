import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { digestOf, SOURCES } from '../../k8s/image.ts';
import { temporaryFolder } from '../local/folder.ts';

const root = join(import.meta.dirname, '../..');
const read = (name: string) => readFileSync(join(root, name), 'utf8');
/** Instructions of the Dockerfile, a line each, by stage. */
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
  test('runs as nobody in particular, and nothing is changed after that', () => {
    expect(last.filter((line) => line.startsWith('USER '))).toEqual(['USER 65532:65532']);
    const rest = last.slice(last.indexOf('USER 65532:65532') + 1);
    expect(rest).toEqual(['ENTRYPOINT ["node"]', expect.stringMatching(/^CMD /)]);
    expect(existsSync(join(root, JSON.parse(rest[1]!.replace('CMD ', ''))[0]))).toBe(true);
  });

  test('has the dependencies of production, none of whose install scripts has run', () => {
    const installs = stages.flat().filter((line) => /^RUN .*npm (ci|install)/.test(line));
    expect(installs).toHaveLength(1);
    expect(installs[0]).toMatch(/ npm ci .*--omit=dev .*--ignore-scripts/);
    expect(dependencies).toContain(installs[0]);
    expect(last).toContainEqual(expect.stringMatching(/^RUN rm -rf .*\/npm .*\/npx /));
  });

  test('is built on the exact Node that everything is tested with', () => {
    expect(before).toEqual([
      expect.stringMatching(`^ARG NODE_IMAGE=node:${packages.node}-\\w+-slim(@sha256:[0-9a-f]{64})?$`),
    ]);
    expect(`${dependencies[0]}; ${last[0]}`).toMatch(/^FROM \$\{NODE_IMAGE\} AS dependencies; FROM \$\{NODE_IMAGE\}$/);
  });

  test('says what it is, which version, and from which commit', () => {
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

  test('is made of nothing but what its tag in development is made of, and gets to see no more', () => {
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

test('a tag in development changes with every file, with its name, and with nothing else', async () => {
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

describe('`npm run image` builds', () => {
  /** Runs it where there are these programs only, each of which writes down how it is called; 1: it is there and does not work. */
  async function build(programs: Record<string, { info?: number; build?: number }>) {
    await using folder = await temporaryFolder();
    const called = join(folder.path, 'called');
    await writeFile(called, '');
    for (const [name, { info = 0, build = 0 }] of Object.entries(programs)) {
      const script = `#!/bin/sh\n[ "$1" = info ] && exit ${info}\necho "${name} $@" >> ${called}\nexit ${build}\n`;
      await writeFile(join(folder.path, name), script, { mode: 0o755 });
    }
    const run = promisify(execFile)(process.execPath, [join(root, 'k8s/image.ts'), '--tag', 'there/it:1'], {
      env: { PATH: folder.path },
    });
    const { stdout, stderr } = await run.catch((error: { stdout: string; stderr: string }) => error);
    return { said: stdout + stderr, called: (await readFile(called, 'utf8')).trim() };
  }
  const rest = `--tag there/it:1 --build-arg VERSION=${version} --build-arg REVISION=unknown ${root}`;

  test('with docker, where it works', async () => {
    const { said, called } = await build({ docker: {}, podman: {}, buildah: {} });
    expect(said).toBe('there/it:1 was built by docker.\n');
    expect(called).toBe(`docker build ${rest}`);
  });

  test('with podman, where docker has nobody to talk to', async () => {
    const { said, called } = await build({ docker: { info: 1 }, podman: {}, buildah: {} });
    expect(said).toBe('there/it:1 was built by podman.\n');
    expect(called).toBe(`podman build --format docker ${rest}`);
  });

  test('with buildah, where there is nothing else', async () => {
    const { said, called } = await build({ buildah: {} });
    expect(said).toBe('there/it:1 was built by buildah.\n');
    expect(called).toBe(`buildah build --layers --format docker ${rest}`);
  });

  test('with none, and says what to install', async () => {
    expect(await build({ docker: { info: 1 } })).toEqual({
      said: 'To build the image, install docker, podman, buildah (any one)\n',
      called: '',
    });
  });

  test('with one only: when that fails, it does not try another, and says so', async () => {
    const { said, called } = await build({ docker: { build: 1 }, podman: {} });
    expect(said).toBe('docker could not build there/it:1\n');
    expect(called).toBe(`docker build ${rest}`);
  });
});
