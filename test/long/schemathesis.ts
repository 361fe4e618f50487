import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Api } from '../../local/demo/api.ts';
import { temporaryFolder } from '../support/folder.ts';
import { python } from '../support/python.ts';

/** Twice what they need on two busy cores: after less, the last operations would get no valid requests. */
const SECONDS_PER_OPERATION = 3;

const checks = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'negative_data_rejection',
  'unsupported_method',
  'ignored_auth',
];

/** A caller's token, and the values that it can use. */
export interface Caller {
  readonly token?: string;
  /** Known values by path of the description and by parameter, such as `path.id` or `body.email`. */
  readonly known?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  /** Operations that would end the caller's session. */
  readonly excluded?: readonly string[];
}

interface Findings {
  readonly code: number;
  /** The end of the output. */
  readonly output: string;
  /** Answered statuses, by `METHOD path` of the description. */
  readonly answered: ReadonlyMap<string, ReadonlySet<number>>;
}

/** Sends an API valid and invalid requests, generated from its own description. */
export async function fuzz(url: string, { token, known = {}, excluded = [] }: Caller): Promise<Findings> {
  const program = await python('schemathesis');
  // Schemathesis stores its findings in its working directory, and reads its configuration there.
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, 'schemathesis.toml'), configure(known));
  const har = join(folder.path, 'all.har');
  const { paths } = await new Api(url).get('/openapi.json');
  const seconds = SECONDS_PER_OPERATION * Object.values<object>(paths).flatMap((it) => Object.keys(it)).length;
  const args = [
    ...['run', `${url}/openapi.json`, '--url', url],
    ...(token ? ['--header', `Authorization: Bearer ${token}`] : []),
    ...excluded.flatMap((operation) => ['--exclude-name', operation]),
    ...['--phases', 'coverage,fuzzing,stateful', '--checks', checks.join(','), '--max-time', `${seconds}`],
    ...['--max-response-time', '5', '--request-timeout', '10', '--continue-on-failure'],
    ...['--warnings', 'off', '--no-color', '--report-har-path', har],
  ];
  const ended = await new Promise<{ code: number; output: string }>((resolve) => {
    const options = { cwd: folder.path, timeout: 5 * seconds * 1000, maxBuffer: 2 ** 28 };
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
      resolve({ code, output: `${stdout}${stderr}`.slice(-5_000) });
    });
  });
  return { ...ended, answered: await statusesIn(har, Object.keys(paths)) };
}

/** Returns a configuration in which most values are known ones and the others generated. */
function configure(known: NonNullable<Caller['known']>): string {
  const lines: string[] = [];
  for (const [path, parameters] of Object.entries(known)) {
    const bindings = Object.entries(parameters).map(([parameter, values]) => {
      const name = `${path}-${parameter}`.replace(/[^\w]+/g, '-').replace(/^-/, '');
      lines.unshift(`[dictionaries.${name}]`, `values = ${JSON.stringify(values)}`);
      return `${JSON.stringify(parameter)} = { dictionary = "${name}", probability = 0.8 }`;
    });
    lines.push('[[operations]]', `include-path = ${JSON.stringify(path)}`, `parameters = { ${bindings.join(', ')} }`);
  }
  return lines.join('\n');
}

async function statusesIn(har: string, paths: readonly string[]): Promise<Map<string, Set<number>>> {
  const { log } = JSON.parse(await readFile(har, 'utf8'));
  const patterns = paths
    // `/v1/sessions/current` before `/v1/sessions/{number}`
    .toSorted((a, b) => a.split('{').length - b.split('{').length)
    .map((path) => ({ path, pattern: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`) }));
  const answered = new Map<string, Set<number>>();
  for (const { request, response } of log.entries) {
    const pathname = new URL(request.url).pathname;
    const name = `${request.method} ${patterns.find(({ pattern }) => pattern.test(pathname))?.path ?? pathname}`;
    answered.set(name, (answered.get(name) ?? new Set()).add(response.status));
  }
  return answered;
}
