import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buildImage, IMAGE, labels } from './image.ts';
import { Shell } from './shell.ts';

const root = join(import.meta.dirname, '..');
/** Which cluster the commands of this project work on. */
const memory = join(root, '.data/cluster.json');
const KIND_CLUSTER = 'member-system';
const DAPR = '1.18.3';
// Without it the injected sidecar would be refused where pods must drop all capabilities.
const DAPR_VALUES = ['--set', 'dapr_sidecar_injector.sidecarDropALLCapabilities=true'];

type Tell = (line: string) => void;

/** A way to have a cluster. */
interface Provider {
  /** @returns the kubeconfig */
  up(tell: Tell): Promise<string>;
  installDapr(shell: Shell, tell: Tell): Promise<void>;
  /** Builds the image of a tree of ours and gives it to the nodes. */
  image(shell: Shell, tell: Tell, from: { tree: string; tag: string }): Promise<void>;
  down(shell: Shell, tell: Tell): Promise<void>;
}

/** Installs Dapr by its chart; again, it changes nothing. */
async function installDapr(shell: Shell, tell: Tell): Promise<void> {
  const chart = ['dapr', '--repo', 'https://dapr.github.io/helm-charts', '--version', DAPR];
  const where = ['--namespace', 'dapr-system', '--create-namespace', '--wait', '--timeout', '5m'];
  await shell.run(['helm', 'upgrade', '--install', 'dapr', ...chart, ...where, ...DAPR_VALUES], { tell });
}

/** kind, on a machine with a container engine. */
const kind: Provider = {
  async up(tell) {
    const kubeconfig = join(root, '.data/kubeconfig');
    await mkdir(dirname(kubeconfig), { recursive: true });
    const shell = new Shell(kubeconfig);
    const clusters = (await shell.run(['kind', 'get', 'clusters'])).split('\n');
    const verb = clusters.includes(KIND_CLUSTER)
      ? ['export', 'kubeconfig', '--name', KIND_CLUSTER]
      : ['create', 'cluster', '--config', join(root, 'k8s/kind.yaml'), '--wait', '120s'];
    await shell.run(['kind', ...verb, '--kubeconfig', kubeconfig], { tell });
    return kubeconfig;
  },
  installDapr,
  async image(shell, tell, { tree, tag }) {
    tell(`${tag} was built by ${buildImage(tag, tree)}`);
    await shell.run(['kind', 'load', 'docker-image', tag, '--name', KIND_CLUSTER], { tell });
  },
  async down(shell, tell) {
    await shell.run(['kind', 'delete', 'cluster', '--name', KIND_CLUSTER], { tell });
  },
};

/**
 * Scripts `install` (what there is to be built; again, it changes nothing), `up` (which prints `export KUBECONFIG=…`), `dapr`,
 * `image-build` and `down` in a folder, for machines on which kind cannot run.
 */
function scripts(folder: string): Provider {
  const own = new Shell('');
  const script = (name: string) => join(folder, name);
  return {
    async up(tell) {
      await own.run([script('install')], { tell });
      const said = await own.run([script('up')], { tell });
      const kubeconfig = /^export KUBECONFIG=(\S+)$/m.exec(said)?.[1];
      if (!kubeconfig) throw new Error(`${script('up')} did not say where the kubeconfig is`);
      return kubeconfig;
    },
    async installDapr(_, tell) {
      await own.run([script('dapr'), ...DAPR_VALUES], { tell });
    },
    async image(_, tell, { tree, tag }) {
      // Such a cluster has images of its own making: Node's goes by its major version.
      const base = ['--build-arg', 'NODE_IMAGE=node:24-bookworm-slim'];
      const build = [script('image-build'), tree, join(tree, 'Dockerfile'), tag, ...base, ...labels(tree)];
      await own.run(build, { tell });
    },
    async down(_, tell) {
      await own.run([script('down')], { tell });
    },
  };
}

function providerOf(name: string): Provider {
  return name === 'kind' ? kind : scripts(name);
}

/** The folder of scripts that make a cluster here, if there is one. */
export function clusterScripts(): string | undefined {
  const folder = process.env.CLUSTER_SCRIPTS ?? join(root, '../shared/cluster');
  return existsSync(join(folder, 'up')) ? folder : undefined;
}

/** @throws what to install, when there is no way to have a cluster here */
function findProvider(): string {
  if (spawnSync('kind', ['get', 'clusters'], { stdio: 'ignore' }).status === 0) return 'kind';
  const folder = clusterScripts();
  if (folder) return folder;
  throw new Error(
    'There is no way to have a cluster here: install Docker and kind (https://kind.sigs.k8s.io), or set CLUSTER_SCRIPTS to a folder with the scripts install, up, dapr, image-build and down, or KUBECONFIG to a cluster that has Dapr',
  );
}

/** A cluster that the commands of this project work on. */
export interface Cluster {
  readonly shell: Shell;
  /** Whether it came to be by these commands; else it was given. */
  readonly isOurs: boolean;
  /** Installs Dapr, or sees that it is there. */
  dapr(tell: Tell): Promise<void>;
  /** Builds the image, of this tree unless told, and gives it to the nodes; of a cluster that was given it says what its nodes need. */
  image(tell: Tell, from?: { tree: string; tag: string }): Promise<void>;
}

interface Remembered {
  /** How it came to be; none for a cluster that was given. */
  readonly provider?: string;
  /** None while it has not come up. */
  readonly kubeconfig?: string;
}

async function recall(): Promise<Remembered | undefined> {
  const text = await readFile(memory, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : JSON.parse(text);
}

async function remember(it: Remembered): Promise<void> {
  await mkdir(dirname(memory), { recursive: true });
  await writeFile(memory, JSON.stringify(it));
}

/** Starts a cluster with Dapr, or takes the one of KUBECONFIG as it is; remembers which. */
export async function up(tell: Tell): Promise<Cluster> {
  const known = await recall();
  // Our own, exported as we have said, is not somebody else's.
  const given = process.env.KUBECONFIG === known?.kubeconfig && known?.provider ? undefined : process.env.KUBECONFIG;
  const provider = given ? undefined : findProvider();
  // One that does not come up has to be removed all the same.
  if (provider) await remember(known?.provider === provider ? known : { provider });
  const kubeconfig = provider ? await providerOf(provider).up(tell) : given!;
  const shell = new Shell(kubeconfig);
  const crds = await shell.kubectl('get', 'crd', '--output=name');
  if (!crds.includes('components.dapr.io')) {
    if (!provider) throw new Error(`The cluster of ${kubeconfig} has no Dapr: see docs/operate.md`);
    await providerOf(provider).installDapr(shell, tell);
  }
  await remember({ provider, kubeconfig });
  return current();
}

/** @throws when no cluster is up */
export async function current(): Promise<Cluster> {
  const known = await recall();
  if (!known?.kubeconfig) throw new Error('No cluster is up: start one with npm run cluster:up');
  const { provider, kubeconfig } = known;
  const shell = new Shell(kubeconfig);
  const it = provider ? providerOf(provider) : undefined;
  return {
    shell,
    isOurs: it !== undefined,
    dapr: (tell) => (it?.installDapr ?? installDapr)(shell, tell),
    async image(tell, from = { tree: root, tag: IMAGE }) {
      if (it) return it.image(shell, () => undefined, from);
      tell(`this cluster's nodes have to find ${from.tag}: npm run image -- --tag ${from.tag}, and give it to them`);
    },
  };
}

/** Removes the cluster, or what there is of one that did not come up; one that was given is left as it is. @returns what has become of it */
export async function down(tell: Tell): Promise<string> {
  const known = await recall();
  if (!known) return 'No cluster is up.';
  const { provider, kubeconfig } = known;
  if (provider) await providerOf(provider).down(new Shell(kubeconfig ?? ''), tell);
  await rm(memory, { force: true });
  return provider ? 'The cluster is gone.' : `The cluster of ${kubeconfig} is not ours: it is left as it is.`;
}
