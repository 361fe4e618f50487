import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Api } from '../local/demo/api.ts';
import { Progress } from '../local/progress.ts';
import { type DemoTarget, playStory } from '../local/story.ts';
import { diagnose, print as format } from '../ops/doctor/report.ts';
import { workers } from '../services/workers/workers.ts';
import { type Cluster, current, down, up } from './clusters.ts';
import { IMAGE, RELEASE_IMAGE } from './image.ts';
import { openApiServer, openDemoTarget, openOperations, operatorTokenOf } from './port-forward.ts';
import { developmentSecrets, secretManifest } from './secrets.ts';
import type { Shell } from './shell.ts';

export const NAMESPACE = 'member-system';
const root = join(import.meta.dirname, '..');

/** Returns a manifest of k8s/, with the image of the current sources. */
const manifest = (name: string): string =>
  readFileSync(join(root, 'k8s', `${name}.yaml`), 'utf8').replaceAll(RELEASE_IMAGE, IMAGE);

type Print = (line: string) => void;

/**
 * Installs PostgreSQL, the broker and the three charts, or upgrades them. In production the first two are yours.
 * @param namespace created if missing (default that of the development cluster)
 */
export async function install({ shell, image }: Cluster, print: Print, namespace = NAMESPACE): Promise<void> {
  const kubectl = (...args: string[]) => shell.kubectl('--namespace', namespace, ...args);
  const apply = (name: string, change = (text: string) => text) =>
    shell.run(['kubectl', '--namespace', namespace, 'apply', '--filename', '-'], { input: change(manifest(name)) });
  const step = async (what: string, work: () => Promise<unknown>) => {
    const since = performance.now();
    await work();
    print(`${what} (${((performance.now() - since) / 1000).toFixed(0)} s)`);
  };
  await step('image ready', () => image(print));
  await apply('namespace', (text) => text.replaceAll(NAMESPACE, namespace));
  await step('Secrets created', () => createMissingSecrets(shell, namespace));
  await step('PostgreSQL and NATS running', async () => {
    for (const name of ['postgres', 'nats']) await apply(name);
    for (const name of ['postgres', 'nats'])
      await kubectl('rollout', 'status', `statefulset/${name}`, '--timeout=180s');
  });
  await step('databases and roles created', async () => {
    const jobs = ['member-database', 'family-account-database'];
    for (const job of jobs) {
      // A Job's template is immutable.
      await kubectl('delete', 'job', job, '--ignore-not-found');
      await apply('database', (text) => text.replaceAll('member-database', job));
    }
    for (const job of jobs) await kubectl('wait', '--for=condition=complete', `job/${job}`, '--timeout=120s');
  });
  await apply('identity-provider');
  const chart = (name: string) => step(`${name} installed`, () => installChart(shell, name, '--namespace', namespace));
  await chart('member');
  await Promise.all([chart('workers'), chart('family-account')]);
}

/** Installs or upgrades a chart with the values of the development cluster. @param more further arguments for helm */
export async function installChart(shell: Shell, name: string, ...more: string[]): Promise<void> {
  const values = ['--values', join(root, 'k8s/values', `${name}.yaml`)];
  const wait = ['--wait', '--timeout', '5m'];
  const where = ['--namespace', NAMESPACE, '--set', `image.tag=${IMAGE.split(':')[1]}`];
  await shell.run([
    'helm',
    'upgrade',
    '--install',
    name,
    join(root, 'charts', name),
    ...where,
    ...values,
    ...wait,
    ...more,
  ]);
}

/** Creates the missing Secrets. Existing ones are kept: the data is encrypted with them. */
async function createMissingSecrets(shell: Shell, namespace = NAMESPACE): Promise<void> {
  const existing = await shell.kubectl('--namespace', namespace, 'get', 'secrets', '--output=name');
  const names = new Set(existing.split('\n').map((name) => name.replace('secret/', '')));
  for (const [name, stringData] of Object.entries(developmentSecrets())) {
    if (names.has(name)) continue;
    const input = JSON.stringify(secretManifest(name, stringData, namespace));
    await shell.run(['kubectl', 'create', '--filename', '-'], { input });
  }
}

/** Sends concurrent changes of members' names. @returns the number of recorded events */
async function sendEvents({ memberUrl }: DemoTarget, count: number): Promise<number> {
  const members = 10;
  const sendOfMember = async () => {
    const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
    const { id } = await new Api(memberUrl).post('/v1/members', { ...person, name: 'Member' });
    const device = { id: randomUUID(), name: 'cluster', os: 'any' };
    const { token } = await new Api(memberUrl).post('/v1/sessions', { ...person, device });
    // Registration and login record one event each.
    const changes = count / members - 2;
    for (let i = 0; i < changes; i++)
      await new Api(memberUrl, token).patch(`/v1/members/${id}`, { name: `Member ${i}` });
    return changes + 2;
  };
  const recorded = await Promise.all(Array.from({ length: members }, sendOfMember));
  return recorded.reduce((sum, it) => sum + it);
}

/** Starts a cluster without an installation. @throws Error if it has one and was not created by this project */
async function upAfresh(print: Print): Promise<Cluster> {
  const cluster = await up(print);
  const found = await cluster.shell.kubectl('get', 'namespace', NAMESPACE, '--ignore-not-found', '--output=name');
  if (!found) return cluster;
  if (!cluster.isOurs)
    throw new Error(
      `The cluster of ${cluster.shell.kubeconfig} was not created by this project: delete its namespace ${NAMESPACE} yourself`,
    );
  print(`The cluster has a namespace ${NAMESPACE}: replacing the cluster`);
  await down(print);
  return up(print);
}

interface Options {
  readonly fresh?: boolean;
}

const commands: Record<string, (print: Print, options: Options) => Promise<void>> = {
  async up(print, { fresh }) {
    const { shell } = await (fresh ? upAfresh : up)(print);
    print(`The cluster is running, with Dapr. For kubectl and helm: export KUBECONFIG=${shell.kubeconfig}`);
  },
  async install(print) {
    await install(await current(), print);
    print(`Everything is installed in the namespace ${NAMESPACE}. Next: npm run cluster:story`);
  },
  async dapr(print) {
    await (await current()).dapr(print);
  },
  async secrets(print) {
    await createMissingSecrets((await current()).shell);
    print(`The Secrets exist in the namespace ${NAMESPACE}`);
  },
  async events(print) {
    await using target = await openDemoTarget((await current()).shell, NAMESPACE);
    print(
      `${await sendEvents(target, 1_000)} events recorded. The trace of each shows when it was published: see "One event" in docs/operate.md.`,
    );
  },
  async story(print) {
    await using target = await openDemoTarget((await current()).shell, NAMESPACE);
    await playStory(target, (line) => process.stdout.write(`${line}\n`), { colour: process.stdout.isTTY });
    print('The story succeeded.');
  },
  async test(print) {
    const { shell } = await current();
    // The same test that operators run.
    for (const release of ['member', 'family-account'])
      await shell.run(['helm', 'test', release, '--namespace', NAMESPACE, '--logs', '--timeout', '5m'], {
        tell: print,
      });
  },
  async doctor(print) {
    const { shell } = await current();
    await using kubernetes = await openApiServer(shell);
    const systems = { member: ['member', ...Object.keys(workers)], 'family-account': ['family-account'] };
    for (const [name, apps] of Object.entries(systems)) {
      const operatorToken = await operatorTokenOf(shell, NAMESPACE, name);
      // Without a ready pod the port-forward fails. The doctor reports that as a finding.
      const service = `service/${name}-operations`;
      const forwarded = await openOperations(shell, NAMESPACE, name).catch((error: Error) => error);
      await using api = forwarded instanceof Error ? undefined : forwarded;
      const reach = api ? { apiUrl: api.url } : { apiUrl: service, unreachable: forwarded as Error };
      const found = await diagnose({ kubernetes, namespace: NAMESPACE, apps, operatorToken, ...reach });
      print(`${apps.join(', ')}: ${format(found)}`);
      if (found.findings.length > 0) process.exitCode = 1;
    }
  },
  async down(print) {
    print(await down(print));
  },
};

// `npm run cluster:up [-- --fresh]`, `cluster:install`, `cluster:story`, `cluster:test`, `cluster:doctor`,
// `cluster:down`. The Tiltfile uses the other commands.
if (import.meta.main) {
  const { values, positionals } = parseArgs({ options: { fresh: { type: 'boolean' } }, allowPositionals: true });
  const command = commands[positionals[0] ?? ''];
  const progress = new Progress(process.stdout);
  try {
    if (!command) throw new Error(`Usage: node k8s/cluster.ts ${Object.keys(commands).join('|')}`);
    await command((line) => progress.print(line), values);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
