import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Api } from '../local/api.ts';
import { Progress } from '../local/progress.ts';
import { playStory, type Stage } from '../local/story.ts';
import { diagnose, print } from '../services/doctor/report.ts';
import { workers } from '../services/workers/workers.ts';
import { type Cluster, current, down, up } from './clusters.ts';
import { IMAGE, RELEASE_IMAGE } from './image.ts';
import { developmentSecrets } from './secrets.ts';
import type { Shell } from './shell.ts';
import { forward, openApiServer, openStage, operatorTokenOf } from './stage.ts';

export const NAMESPACE = 'member-system';
const root = join(import.meta.dirname, '..');

/** One of k8s/, with the image of today's sources. */
const manifest = (name: string): string =>
  readFileSync(join(root, 'k8s', `${name}.yaml`), 'utf8').replaceAll(RELEASE_IMAGE, IMAGE);

type Tell = (line: string) => void;

/** Installs everything: what production brings itself, then the three charts. Again, it upgrades. */
export async function install({ shell, image }: Cluster, say: Tell): Promise<void> {
  const kubectl = (...args: string[]) => shell.kubectl('--namespace', NAMESPACE, ...args);
  const apply = (name: string, change = (text: string) => text) =>
    shell.run(['kubectl', '--namespace', NAMESPACE, 'apply', '--filename', '-'], { input: change(manifest(name)) });
  const step = async (what: string, work: () => Promise<unknown>) => {
    const since = performance.now();
    await work();
    say(`${what} (${((performance.now() - since) / 1000).toFixed(0)} s)`);
  };
  await step('the image is seen to', () => image(say));
  await apply('namespace');
  await step('credentials exist', () => createMissing(shell));
  await step('PostgreSQL and the broker run', async () => {
    for (const name of ['postgres', 'nats']) await apply(name);
    for (const name of ['postgres', 'nats'])
      await kubectl('rollout', 'status', `statefulset/${name}`, '--timeout=180s');
  });
  await step('both databases and their roles exist', async () => {
    const jobs = ['member-database', 'family-account-database'];
    for (const job of jobs) {
      // A Job cannot be changed.
      await kubectl('delete', 'job', job, '--ignore-not-found');
      await apply('database', (text) => text.replaceAll('member-database', job));
    }
    for (const job of jobs) await kubectl('wait', '--for=condition=complete', `job/${job}`, '--timeout=120s');
  });
  await apply('identity-provider');
  const chart = (name: string) => step(`${name} is installed`, () => installChart(shell, name));
  await chart('member');
  await Promise.all([chart('workers'), chart('family-account')]);
}

/** Installs or upgrades one chart with the values of the development cluster. */
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

/** Secrets that exist stay as they are: what they open was made with them. */
async function createMissing(shell: Shell): Promise<void> {
  const existing = await shell.kubectl('--namespace', NAMESPACE, 'get', 'secrets', '--output=name');
  const there = new Set(existing.split('\n').map((name) => name.replace('secret/', '')));
  for (const [name, stringData] of Object.entries(developmentSecrets())) {
    if (there.has(name)) continue;
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: NAMESPACE }, stringData };
    await shell.run(['kubectl', 'create', '--filename', '-'], { input: JSON.stringify(secret) });
  }
}

/** Has members change their names, all at once. @returns how many facts were stated */
async function sendEvents({ memberUrl }: Stage, count: number): Promise<number> {
  const members = 10;
  const one = async () => {
    const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
    const { id } = await new Api(memberUrl).post('/v1/members', { ...person, name: 'Somebody' });
    const device = { id: randomUUID(), name: 'cluster', os: 'any' };
    const { token } = await new Api(memberUrl).post('/v1/sessions', { ...person, device });
    // Beside these, one for registering and one for logging in.
    const changes = count / members - 2;
    for (let i = 0; i < changes; i++)
      await new Api(memberUrl, token).patch(`/v1/members/${id}`, { name: `Somebody ${i}` });
    return changes + 2;
  };
  const stated = await Promise.all(Array.from({ length: members }, one));
  return stated.reduce((sum, it) => sum + it);
}

/** A cluster on which nothing of ours is. @throws when there is something, and the cluster is not ours to remove */
async function upAfresh(say: Tell): Promise<Cluster> {
  const cluster = await up(say);
  const found = await cluster.shell.kubectl('get', 'namespace', NAMESPACE, '--ignore-not-found', '--output=name');
  if (!found) return cluster;
  if (!cluster.isOurs)
    throw new Error(`${cluster.shell.kubeconfig} has a namespace ${NAMESPACE}, and is not ours to empty`);
  say('There is something on it: another is made');
  await down(say);
  return up(say);
}

interface Options {
  readonly fresh?: boolean;
}

const commands: Record<string, (say: Tell, options: Options) => Promise<void>> = {
  async up(say, { fresh }) {
    const { shell } = await (fresh ? upAfresh : up)(say);
    say(`The cluster is up, with Dapr. For kubectl and helm: export KUBECONFIG=${shell.kubeconfig}`);
  },
  async install(say) {
    await install(await current(), say);
    say(`All is installed in the namespace ${NAMESPACE}. Now: npm run cluster:story`);
  },
  async dapr(say) {
    await (await current()).dapr(say);
  },
  async secrets(say) {
    await createMissing((await current()).shell);
    say(`The Secrets of a development cluster exist in the namespace ${NAMESPACE}`);
  },
  async events(say) {
    await using stage = await openStage((await current()).shell, NAMESPACE);
    say(`${await sendEvents(stage, 1_000)} events were stated; see them come back in the log of publish-recorder`);
  },
  async story(say) {
    await using stage = await openStage((await current()).shell, NAMESPACE);
    await playStory(stage, (line) => process.stdout.write(`${line}\n`), { colour: process.stdout.isTTY });
    say('The story has come true.');
  },
  async test(say) {
    const { shell } = await current();
    // What a release proves of itself; an operator runs the same.
    for (const release of ['member', 'family-account'])
      await shell.run(['helm', 'test', release, '--namespace', NAMESPACE, '--logs', '--timeout', '5m'], { tell: say });
  },
  async doctor(say) {
    const { shell } = await current();
    await using kubernetes = await openApiServer(shell);
    const systems = { member: ['member', ...Object.keys(workers)], 'family-account': ['family-account'] };
    for (const [name, apps] of Object.entries(systems)) {
      const operatorToken = await operatorTokenOf(shell, NAMESPACE, name);
      // Nothing can be forwarded to where no pod runs: that is for the doctor to say.
      const service = `service/${name}`;
      const forwarded = await forward(shell, NAMESPACE, service, 80).catch((error: Error) => error);
      await using api = forwarded instanceof Error ? undefined : forwarded;
      const reach = api ? { apiUrl: api.url } : { apiUrl: service, unreachable: forwarded as Error };
      const found = await diagnose({ kubernetes, namespace: NAMESPACE, apps, operatorToken, ...reach });
      say(`${apps.join(', ')}: ${print(found)}`);
      if (found.findings.length > 0) process.exitCode = 1;
    }
  },
  async down(say) {
    say(await down(say));
  },
};

// `npm run cluster:up [-- --fresh]`, `cluster:install`, `cluster:story`, `cluster:test`, `cluster:doctor`, `cluster:down`; the Tiltfile uses the others
if (import.meta.main) {
  const { values, positionals } = parseArgs({ options: { fresh: { type: 'boolean' } }, allowPositionals: true });
  const command = commands[positionals[0] ?? ''];
  const progress = new Progress(process.stdout);
  try {
    if (!command) throw new Error(`node k8s/cluster.ts ${Object.keys(commands).join('|')}`);
    await command((line) => progress.say(line), values);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
