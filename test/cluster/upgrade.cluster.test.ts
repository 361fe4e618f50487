import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { renamedValues } from '#process/renamed';
import { install, NAMESPACE } from '../../k8s/cluster.ts';
import { IMAGE } from '../../k8s/image.ts';
import { openDemoTarget } from '../../k8s/port-forward.ts';
import { Api } from '../../local/demo/api.ts';
import { playStory } from '../../local/story.ts';
import { eventually } from '../support/eventually.ts';
import { checkOut, LAST_CHARTS } from '../support/release.ts';
import { root } from '../support/stack.ts';
import { cluster, diagnoseBoth, textOf } from './diagnosis.ts';
import { countMessages, expectInvariants, query } from './invariants.ts';
import { expectNoImpactOf } from './no-impact.ts';

// An installation of its own, with its own PostgreSQL and NATS, because migrations cannot be undone.
const namespace = 'upgraded';
const charts = ['member', 'workers', 'family-account'];
const databases = ['member', 'family_account'] as const;
const [tag] = IMAGE.split(':').slice(1);
const run = promisify(execFile);

let folder: string;
let lastTree: string;
let eventsBefore: Record<string, string[]>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'member-system-upgrade-'));
  lastTree = await checkOut(LAST_CHARTS, join(folder, 'last'));
  await symlink(join(root, 'node_modules'), join(lastTree, 'node_modules'));
  for (const name of ['cluster.ts', 'namespace.yaml']) await edit(join(lastTree, 'k8s', name));
  const lastImage = await lastNode('--eval', 'console.log((await import("./k8s/image.ts")).IMAGE)');
  await cluster.image(() => undefined, { tree: lastTree, tag: lastImage.trim() });
  for (const command of ['up', 'install', 'story']) await lastNode('k8s/cluster.ts', command);
  eventsBefore = await events();
}, 1_200_000);
afterAll(async () => {
  await helm('uninstall', ...charts, '--ignore-not-found');
  await cluster.shell.kubectl('delete', 'namespace', namespace, '--ignore-not-found');
  await rm(folder, { recursive: true, force: true });
}, 400_000);

/** Runs Node in the last release's tree, on the same cluster. @returns its output */
async function lastNode(...args: string[]): Promise<string> {
  const env = { ...process.env, KUBECONFIG: cluster.shell.kubeconfig };
  const { stdout } = await run(process.execPath, args, { cwd: lastTree, env });
  return stdout;
}

async function edit(file: string): Promise<void> {
  await writeFile(file, (await readFile(file, 'utf8')).replaceAll(NAMESPACE, namespace));
}

const helm = (...args: string[]) =>
  cluster.shell.run(['helm', ...args, '--namespace', namespace, '--wait', '--timeout', '5m']);

const kubectl = (...args: string[]) => cluster.shell.kubectl('--namespace', namespace, ...args);

const releases = () => cluster.shell.run(['helm', 'list', '--output=json', '--namespace', namespace]);

/** Upgrades a chart as docs/operate.md says, with the values of the last release and the new image. */
const upgrade = (chart: string, ...more: string[]) => {
  const values = ['--values', join(lastTree, 'k8s/values', `${chart}.yaml`), '--set', `image.tag=${tag}`];
  return helm('upgrade', chart, join(root, 'charts', chart), ...values, ...more);
};

const expectNoImpact = (change: () => Promise<void>) =>
  // The last family-account, at its shutdown, answers 503 on connections that were idle for two seconds.
  expectNoImpactOf(cluster.shell, change, { connections: 'closed', namespace });

/** Returns a column of a query's rows in both databases. */
async function both(sql: string): Promise<Record<string, string[]>> {
  const columns = databases.map(async (database) => {
    const rows = (await query({ shell: cluster.shell, namespace }, database, sql)) as { it: string }[];
    return [database, rows.map(({ it }) => it)] as const;
  });
  return Object.fromEntries(await Promise.all(columns));
}
const events = () => both('select id::text as it from eventing.event_store order by 1');
const migrations = () => both("select name as it from migration where name like 'Eventing%' order by 1");

/** Counts the migrations of lib/eventing in a tree. */
const migrationsOf = async (tree: string) =>
  (await readdir(join(tree, 'lib/eventing/migrations'))).filter((name) => /^\d/.test(name)).length;

async function expectNothingLost(): Promise<void> {
  const after = await events();
  for (const database of databases) expect(after[database]).toEqual(expect.arrayContaining(eventsBefore[database]!));
}

async function playOn(): Promise<void> {
  await using target = await openDemoTarget(cluster.shell, namespace);
  expect((await playStory(target, () => undefined)).length).toBeGreaterThan(10);
  await expectInvariants(cluster.shell, namespace);
}

/** Expects that canaries pass all hops and the doctor finds nothing. */
async function expectHealthy(): Promise<void> {
  for (const api of ['member', 'family-account'])
    await cluster.shell.run(['helm', 'test', api, '--namespace', namespace, '--timeout', '5m']);
  const findings = async () => (await diagnoseBoth(namespace)).map(textOf);
  await eventually(async () => expect(await findings()).toEqual([]), { timeoutMs: 120_000 });
}

test('old names of values are refused with the new names, and nothing changes', async () => {
  const revisions = await releases();
  for (const [old, name] of Object.entries(renamedValues))
    await expect(upgrade('family-account', '--set', `${old}=8`)).rejects.toThrow(`renamed to ${name}`);
  expect(await releases()).toBe(revisions);
}, 120_000);

test('upgrading an installation of the last release under load has no impact, workers first', async () => {
  const [last, current] = await Promise.all([migrationsOf(lastTree), migrationsOf(root)]);
  expect(current).toBeGreaterThan(last);
  for (const names of Object.values(await migrations())) expect(names).toHaveLength(last);
  await expectNoImpact(async () => {
    for (const chart of ['workers', 'family-account', 'member']) await upgrade(chart);
  });
  for (const names of Object.values(await migrations())) expect(names).toHaveLength(current);
  await expectNothingLost();
  await playOn();
}, 900_000);

test('rolling back under load has no impact: the last release works on the new schema', async () => {
  await expectNoImpact(async () => {
    for (const chart of charts) await helm('rollback', chart);
  });
  await expectNothingLost();
  // The present story calls Services that the last release does not have.
  const story = await lastNode('k8s/cluster.ts', 'story');
  expect(story.split('\n').length).toBeGreaterThan(10);
  await expectInvariants(cluster.shell, namespace);
  for (const api of ['member', 'family-account']) {
    const job = `${api}-once`;
    await kubectl('create', 'job', job, `--from=cronjob/${api}-housekeeping`);
    await kubectl('wait', '--for=condition=complete', `job/${job}`, '--timeout=120s');
  }
}, 900_000);

test('upgrading again under load has no impact, canaries pass, and the doctor finds nothing', async () => {
  await expectNoImpact(async () => {
    for (const chart of charts) await upgrade(chart);
  });
  await expectNothingLost();
  await playOn();
  await expectHealthy();
}, 900_000);

test('the development install gives each app an account at the broker and keeps its messages', async () => {
  // Its messages then wait at the broker.
  await kubectl('scale', 'deployment/external-broadcaster', '--replicas=0');
  await kubectl('wait', '--for=delete', 'pod', '-l', 'app.kubernetes.io/name=external-broadcaster', '--timeout=90s');
  const messages = () => countMessages(cluster.shell, namespace);
  const before = await messages();
  {
    await using target = await openDemoTarget(cluster.shell, namespace);
    const person = { name: 'Anna', email: `${randomUUID()}@example.com`, password: randomUUID() };
    await new Api(target.memberUrl).post('/v1/members', person);
  }
  await eventually(async () => expect(await messages()).toBeGreaterThan(before));
  await install(cluster, () => undefined, namespace);
  expect(await messages()).toBeGreaterThan(before);
  await expectInvariants(cluster.shell, namespace);
  await expectNothingLost();
  await playOn();
  await expectHealthy();
}, 900_000);
