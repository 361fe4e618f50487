import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buildImage, IMAGE, labels } from './image.ts';
import { Shell } from './shell.ts';

const root = join(import.meta.dirname, '..');
/** File with the cluster that the commands of this project work on. */
const stateFile = join(root, '.data/cluster.json');
const KIND_CLUSTER = 'member-system';
const DAPR = '1.18.3';
// Required where pods must drop all capabilities: otherwise pods with an injected sidecar are rejected.
const DAPR_VALUES = ['--set', 'dapr_sidecar_injector.sidecarDropALLCapabilities=true'];

type Print = (line: string) => void;

/** Creates and deletes clusters. */
interface Provider {
  /** Creates or starts the cluster. @returns the path of its kubeconfig */
  up(print: Print): Promise<string>;
  installDapr(shell: Shell, print: Print): Promise<void>;
  /** Builds the image of a source tree and loads it into the nodes. */
  image(shell: Shell, print: Print, from: { tree: string; tag: string }): Promise<void>;
  down(shell: Shell, print: Print): Promise<void>;
}

/** Installs Dapr from its chart; idempotent. */
async function installDapr(shell: Shell, print: Print): Promise<void> {
  const chart = ['dapr', '--repo', 'https://dapr.github.io/helm-charts', '--version', DAPR];
  const where = ['--namespace', 'dapr-system', '--create-namespace', '--wait', '--timeout', '5m'];
  await shell.run(['helm', 'upgrade', '--install', 'dapr', ...chart, ...where, ...DAPR_VALUES], { tell: print });
}

/** kind; needs a container engine. */
const kind: Provider = {
  async up(print) {
    const kubeconfig = join(root, '.data/kubeconfig');
    await mkdir(dirname(kubeconfig), { recursive: true });
    const shell = new Shell(kubeconfig);
    const clusters = (await shell.run(['kind', 'get', 'clusters'])).split('\n');
    const verb = clusters.includes(KIND_CLUSTER)
      ? ['export', 'kubeconfig', '--name', KIND_CLUSTER]
      : ['create', 'cluster', '--config', join(root, 'k8s/kind.yaml'), '--wait', '120s'];
    await shell.run(['kind', ...verb, '--kubeconfig', kubeconfig], { tell: print });
    return kubeconfig;
  },
  installDapr,
  async image(shell, print, { tree, tag }) {
    print(`${tag} was built by ${buildImage(tag, tree)}`);
    await shell.run(['kind', 'load', 'docker-image', tag, '--name', KIND_CLUSTER], { tell: print });
  },
  async down(shell, print) {
    await shell.run(['kind', 'delete', 'cluster', '--name', KIND_CLUSTER], { tell: print });
  },
};

/**
 * Runs the scripts `install` (idempotent), `up` (prints `export KUBECONFIG=…`), `dapr`, `image-build` and `down` of a
 * folder, for machines that cannot run kind.
 */
function scripts(folder: string): Provider {
  const own = new Shell('');
  const script = (name: string) => join(folder, name);
  return {
    async up(print) {
      await own.run([script('install')], { tell: print });
      const output = await own.run([script('up')], { tell: print });
      const kubeconfig = /^export KUBECONFIG=(\S+)$/m.exec(output)?.[1];
      if (!kubeconfig) throw new Error(`${script('up')} did not print export KUBECONFIG=…`);
      return kubeconfig;
    },
    async installDapr(_, print) {
      await own.run([script('dapr'), ...DAPR_VALUES], { tell: print });
    },
    async image(_, print, { tree, tag }) {
      // These clusters build their own base images, tagged with Node's major version only.
      const base = ['--build-arg', 'NODE_IMAGE=node:24-bookworm-slim'];
      const build = [script('image-build'), tree, join(tree, 'Dockerfile'), tag, ...base, ...labels(tree)];
      await own.run(build, { tell: print });
    },
    async down(_, print) {
      await own.run([script('down')], { tell: print });
    },
  };
}

function providerOf(name: string): Provider {
  return name === 'kind' ? kind : scripts(name);
}

/** Returns the folder of the cluster scripts, if there is one. */
export function clusterScripts(): string | undefined {
  const folder = process.env.CLUSTER_SCRIPTS ?? join(root, '../shared/cluster');
  return existsSync(join(folder, 'up')) ? folder : undefined;
}

/**
 * Chooses how to create a cluster.
 * @returns `kind`, or the folder of the scripts
 * @throws Error naming what to install
 */
function findProvider(): string {
  if (spawnSync('kind', ['get', 'clusters'], { stdio: 'ignore' }).status === 0) return 'kind';
  const folder = clusterScripts();
  if (folder) return folder;
  throw new Error(
    'Cannot create a cluster on this machine: install Docker and kind (https://kind.sigs.k8s.io), set KUBECONFIG to a cluster with Dapr, or set CLUSTER_SCRIPTS to a folder with the scripts install, up, dapr, image-build and down',
  );
}

/** The cluster that the commands of this project work on. */
export interface Cluster {
  readonly shell: Shell;
  /** Whether these commands created it; otherwise it is the one of KUBECONFIG. */
  readonly isOurs: boolean;
  /** Installs Dapr; idempotent. */
  dapr(print: Print): Promise<void>;
  /**
   * Builds the image (default of this tree) and loads it into the nodes. For a cluster of KUBECONFIG: prints what to
   * do.
   */
  image(print: Print, from?: { tree: string; tag: string }): Promise<void>;
}

interface State {
  /** `kind` or the folder of the scripts; undefined for a cluster of KUBECONFIG. */
  readonly provider?: string;
  /** Undefined until the cluster has started. */
  readonly kubeconfig?: string;
}

async function readState(): Promise<State | undefined> {
  const text = await readFile(stateFile, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : JSON.parse(text);
}

async function writeState(state: State): Promise<void> {
  await mkdir(dirname(stateFile), { recursive: true });
  await writeFile(stateFile, JSON.stringify(state));
}

/** Starts a cluster with Dapr, or selects the one of KUBECONFIG, which must have Dapr. Stores which one it is. */
export async function up(print: Print): Promise<Cluster> {
  const state = await readState();
  // KUBECONFIG may point to the cluster that an earlier call created.
  const isOurs = process.env.KUBECONFIG === state?.kubeconfig && state?.provider !== undefined;
  const external = isOurs ? undefined : process.env.KUBECONFIG;
  const provider = external ? undefined : findProvider();
  // Stored before the start: a cluster that fails to start must be removable too.
  if (provider) await writeState(state?.provider === provider ? state : { provider });
  const kubeconfig = provider ? await providerOf(provider).up(print) : external!;
  const shell = new Shell(kubeconfig);
  const crds = await shell.kubectl('get', 'crd', '--output=name');
  if (!crds.includes('components.dapr.io')) {
    if (!provider) throw new Error(`The cluster of ${kubeconfig} has no Dapr: see docs/operate.md`);
    await providerOf(provider).installDapr(shell, print);
  }
  await writeState({ provider, kubeconfig });
  return current();
}

/** Returns the current cluster. @throws Error if none is running */
export async function current(): Promise<Cluster> {
  const state = await readState();
  if (!state?.kubeconfig) throw new Error('No cluster is running: start one with npm run cluster:up');
  const { provider, kubeconfig } = state;
  const shell = new Shell(kubeconfig);
  const it = provider ? providerOf(provider) : undefined;
  return {
    shell,
    isOurs: it !== undefined,
    dapr: (print) => (it?.installDapr ?? installDapr)(shell, print),
    async image(print, from = { tree: root, tag: IMAGE }) {
      if (it) return it.image(shell, () => undefined, from);
      print(`build ${from.tag} (npm run image -- --tag ${from.tag}) and load it into the nodes of this cluster`);
    },
  };
}

/**
 * Deletes the cluster, also one that failed to start; a cluster of KUBECONFIG is left unchanged.
 * @returns the result, as a sentence
 */
export async function down(print: Print): Promise<string> {
  const state = await readState();
  if (!state) return 'No cluster is running.';
  const { provider, kubeconfig } = state;
  if (provider) await providerOf(provider).down(new Shell(kubeconfig ?? ''), print);
  await rm(stateFile, { force: true });
  return provider ? 'Cluster deleted.' : `The cluster of ${kubeconfig} was not created by this project: unchanged.`;
}
