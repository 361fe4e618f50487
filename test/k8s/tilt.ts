import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { helm, tiltfile } from '../../local/programs.ts';
import { programPath } from '../support/helm.ts';
import { root } from '../support/stack.ts';

const run = promisify(execFile);

/** What the Tiltfile says to Tilt: a function, and what it is called with. */
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
 * @param settings what is written after `--`
 * @throws with what the interpreter complained of
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
  const given = ['-helm', renderer, '-settings', JSON.stringify(settings), '-subcommand', subcommand];
  const { stdout } = await run(interpreter, [...given, resolve(root, file)], { maxBuffer: 2 ** 26 });
  return JSON.parse(stdout);
}

/** All that these calls would have Tilt apply, as one stream of YAML. */
export const yamlOf = (calls: readonly TiltCall[]): string =>
  calls
    .filter((it) => it.function === 'k8s_yaml')
    .map((it) => it.arguments.yaml)
    .join('---\n');

export const objectsOf = (calls: readonly TiltCall[]): TiltObject[] =>
  parseAllDocuments(yamlOf(calls)).map((it) => it.toJS());
