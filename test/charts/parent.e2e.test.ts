import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { charts } from '../../docs/charts.ts';
import { helmPrograms, type Manifest, render } from '../support/helm.ts';
import { root } from '../support/stack.ts';

const run = promisify(execFile);
let programs: string[];
let folder: string;
let version: string;
beforeAll(async () => {
  programs = await helmPrograms();
  folder = await mkdtemp(join(tmpdir(), 'parent-chart-'));
  version = parse(await readFile(join(root, 'charts/member/Chart.yaml'), 'utf8')).version;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes a parent chart with the three charts below it. @param dependency further fields of each dependency */
async function parentChart(name: string, dependency: (chart: string) => object): Promise<string> {
  const parent = join(folder, name);
  await mkdir(join(parent, 'charts'), { recursive: true });
  for (const chart of charts)
    await cp(join(root, 'charts', chart), join(parent, 'charts', chart), { recursive: true, dereference: true });
  const dependencies = charts.map((chart) => ({ name: chart, version, ...dependency(chart) }));
  await writeFile(join(parent, 'Chart.yaml'), stringify({ apiVersion: 'v2', name, version: '1.0.0', dependencies }));
  return parent;
}

const cluster = async (chart: string) => parse(await readFile(join(root, `k8s/values/${chart}.yaml`), 'utf8'));

/** Returns the development cluster's values by chart, merged with `more`. */
async function valuesOf(more: Readonly<Record<string, object>>): Promise<Record<string, object>> {
  const all = charts.map(async (chart) => [chart, { ...(await cluster(chart)), ...more[chart] }] as const);
  return { ...more, ...Object.fromEntries(await Promise.all(all)) };
}

async function template(program: string, parent: string, values: object): Promise<string[]> {
  const where = ['--namespace', 'a-namespace', '--kube-version', '1.34.0'];
  const command = run(program, ['template', 'everything', parent, ...where, '--values', '-'], { maxBuffer: 2 ** 24 });
  command.child.stdin!.end(stringify(values));
  return namesOf(parseAllDocuments((await command).stdout).flatMap((document) => document.toJS() ?? []));
}

const namesOf = (manifests: readonly Manifest[]) => manifests.map((it) => `${it.kind} ${it.metadata.name}`).sort();
const namesAlone = async (program: string, only: readonly string[] = charts) =>
  (await Promise.all(only.map(async (chart) => namesOf(await render(program, chart))))).flat().sort();
const allEnabled = Object.fromEntries(charts.map((chart) => [chart, { enabled: true }]));

describe.each([
  ['newest', 0],
  ['older', 1],
] as const)('Charts below a parent chart, with the %s Helm,', (_, index) => {
  const program = () => programs[index]!;

  test('render the same as alone when enabled, with any global values', async () => {
    const parent = await parentChart(`on-${index}`, (chart) => ({ condition: `${chart}.enabled`, tags: ['all'] }));
    const global = { domain: 'example.com', list: [1] };
    const values = await valuesOf({ ...allEnabled, global, tags: { all: false } });
    const names = await template(program(), parent, values);
    expect(names).toEqual(await namesAlone(program()));
    expect(new Set(names).size).toBe(names.length);
  });

  test('render nothing when their condition or tag is off', async () => {
    const parent = await parentChart(`off-${index}`, (chart) => ({ condition: `${chart}.enabled`, tags: [chart] }));
    const off = await valuesOf({ ...allEnabled, member: { enabled: false }, tags: { workers: true } });
    expect(await template(program(), parent, off)).toEqual(await namesAlone(program(), ['workers', 'family-account']));
    const values = await valuesOf({ tags: { member: true, workers: false, 'family-account': false } });
    expect(await template(program(), parent, values)).toEqual(await namesAlone(program(), ['member']));
  });

  test('render the same under aliases, with imported values', async () => {
    const imports = [{ child: 'image', parent: 'theirImage' }];
    const parent = await parentChart(`alias-${index}`, (chart) => ({
      alias: `our-${chart}`,
      condition: `our-${chart}.enabled`,
      'import-values': imports,
    }));
    const values = Object.entries(await valuesOf(allEnabled)).map(([chart, each]) => [`our-${chart}`, each]);
    expect(await template(program(), parent, Object.fromEntries(values))).toEqual(await namesAlone(program()));
  });

  test.each(charts)('reject the value enabled when installed alone: %s', async (chart) => {
    await expect(render(program(), chart, 'enabled: false')).rejects.toThrow('enabled');
  });
});
