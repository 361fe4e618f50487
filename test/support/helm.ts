import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { findProgram } from '../../local/binaries.ts';
import { helm, type Program } from '../../local/programs.ts';
import { Progress } from '../../local/progress.ts';
import { root } from './stack.ts';

const run = promisify(execFile);
const quiet = new Progress(new Writable({ write: (_chunk, _encoding, done) => done() }) as never);

/** A program that setting up has made sure is there. */
export const programPath = (program: Program): Promise<string> =>
  findProgram(program, quiet, new AbortController().signal);

/** Helm of each major, newest first; its tests need them, and setting up has made sure that they are there. */
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
  // biome-ignore lint/suspicious/noExplicitAny: whatever the kind has
  readonly spec?: any;
}

/**
 * What a chart makes of the development cluster's values and of these, given as YAML.
 * @throws with what Helm says, when it refuses them
 */
export async function render(program: string, chart: string, values = ''): Promise<Manifest[]> {
  return parseAllDocuments(await renderText(program, chart, values)).flatMap((document) => document.toJS() ?? []);
}

/** The same, as it is. */
export async function renderText(program: string, chart: string, values: string): Promise<string> {
  // Else Helm takes a version that it was built with.
  const cluster = ['--namespace', 'a-namespace', '--kube-version', '1.34.0'];
  const given = ['--values', join(root, 'k8s/values', `${chart}.yaml`), '--values', '-'];
  const command = run(program, ['template', chart, join(root, 'charts', chart), ...cluster, ...given]);
  command.child.stdin!.end(values || '{}');
  return (await command).stdout;
}

/** What Helm tells whoever has installed it. */
export async function renderNotes(program: string, chart: string, values = ''): Promise<string> {
  const given = ['--values', join(root, 'k8s/values', `${chart}.yaml`), '--values', '-'];
  const where = ['--namespace', 'a-namespace', '--dry-run=client'];
  // No cluster is asked, and none shall be.
  const env = { ...process.env, KUBECONFIG: '/dev/null' };
  const command = run(program, ['install', chart, join(root, 'charts', chart), ...where, ...given], { env });
  command.child.stdin!.end(values || '{}');
  return (await command).stdout.split('\nNOTES:\n')[1]!;
}
