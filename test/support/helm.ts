import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { Progress } from '../../local/progress.ts';
import { findProgram } from '../../local/toolchain/binaries.ts';
import { helm, type Program } from '../../local/toolchain/programs.ts';
import { root } from './stack.ts';

const run = promisify(execFile);
const quiet = new Progress(new Writable({ write: (_chunk, _encoding, done) => done() }) as never);

/** Returns the path of a program that the global setup has installed. */
export const programPath = (program: Program): Promise<string> =>
  findProgram(program, quiet, new AbortController().signal);

/** Returns the paths of Helm of each major version, newest first. */
export const helmPrograms = (): Promise<string[]> => Promise.all(helm.map(programPath));

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly scopes?: readonly string[];
  // biome-ignore lint/suspicious/noExplicitAny: each kind has a form of its own
  readonly spec?: any;
}

/**
 * Renders a chart with the development cluster's values and then these, given as YAML.
 * @throws with Helm's message when it refuses the values
 */
export async function render(program: string, chart: string, values = ''): Promise<Manifest[]> {
  return parseAllDocuments(await renderText(program, chart, values)).flatMap((document) => document.toJS() ?? []);
}

/** Renders a chart as text; see `render`. */
export async function renderText(program: string, chart: string, values: string): Promise<string> {
  // Without a version Helm assumes the one that it was built with.
  const cluster = ['--namespace', 'a-namespace', '--kube-version', '1.34.0'];
  const valueArguments = ['--values', join(root, 'k8s/values', `${chart}.yaml`), '--values', '-'];
  const command = run(program, ['template', chart, join(root, 'charts', chart), ...cluster, ...valueArguments]);
  command.child.stdin!.end(values || '{}');
  return (await command).stdout;
}

/** Renders the notes of a chart, as `helm install` prints them. */
export async function renderNotes(program: string, chart: string, values = ''): Promise<string> {
  const valueArguments = ['--values', join(root, 'k8s/values', `${chart}.yaml`), '--values', '-'];
  const where = ['--namespace', 'a-namespace', '--dry-run=client'];
  // Makes sure that Helm contacts no cluster.
  const env = { ...process.env, KUBECONFIG: '/dev/null' };
  const command = run(program, ['install', chart, join(root, 'charts', chart), ...where, ...valueArguments], { env });
  command.child.stdin!.end(values || '{}');
  return (await command).stdout.split('\nNOTES:\n')[1]!;
}
