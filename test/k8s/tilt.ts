import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { helm, tiltfile } from '../../local/toolchain/programs.ts';
import { programPath } from '../support/helm.ts';
import { root } from '../support/stack.ts';

const run = promisify(execFile);

/** A call of a Tilt function by the Tiltfile, with its arguments. */
export interface TiltCall {
  readonly function: string;
  // biome-ignore lint/suspicious/noExplicitAny: each function has arguments of its own
  readonly arguments: Record<string, any>;
  readonly line: number;
}

/** A Kubernetes object that Tilt would apply. */
export interface TiltObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  // biome-ignore lint/suspicious/noExplicitAny: each kind has a form of its own
  readonly spec?: any;
}

let programs: Promise<[string, string]> | undefined;

/**
 * Evaluates a Tiltfile as `tilt up`, or another command, would.
 * @param settings the arguments after `--`
 * @throws with the interpreter's error
 */
export async function evaluate({
  settings = {},
  subcommand = 'up',
  file = 'Tiltfile',
}: {
  settings?: Record<string, string>;
  subcommand?: 'up' | 'ci';
  file?: string;
} = {}): Promise<TiltCall[]> {
  programs ??= Promise.all([programPath(tiltfile), programPath(helm[0])]);
  const [interpreter, renderer] = await programs;
  const flags = ['-helm', renderer, '-settings', JSON.stringify(settings), '-subcommand', subcommand];
  const { stdout } = await run(interpreter, [...flags, resolve(root, file)], { maxBuffer: 2 ** 26 });
  return JSON.parse(stdout);
}

/** Returns the objects that Tilt would apply after these calls, as one YAML stream. */
export const yamlOf = (calls: readonly TiltCall[]): string =>
  calls
    .filter((it) => it.function === 'k8s_yaml')
    .map((it) => it.arguments.yaml)
    .join('---\n');

export const objectsOf = (calls: readonly TiltCall[]): TiltObject[] =>
  parseAllDocuments(yamlOf(calls)).map((it) => it.toJS());

/** The calls of `tilt up`, and the objects that it would apply. Set by `open`. */
export let calls: TiltCall[];
export let objects: TiltObject[];
export async function open() {
  calls = await evaluate();
  objects = objectsOf(calls);
}

/** Returns the arguments of each call of a Tilt function. */
export const called = (name: string, all: readonly TiltCall[] = calls) =>
  all.filter((it) => it.function === name).map((it) => it.arguments);

/** Returns the names of all resources. */
export const resources = () => [
  ...called('k8s_resource').map((it) => it.workload ?? it.new_name),
  ...called('local_resource').map((it) => it.name),
];

const WORKLOADS = ['Deployment', 'StatefulSet', 'Job', 'CronJob'];
export const isWorkload = ({ kind }: TiltObject) => WORKLOADS.includes(kind);
export const podOf = ({ kind, spec }: TiltObject) => (kind === 'CronJob' ? spec.jobTemplate.spec : spec).template.spec;
