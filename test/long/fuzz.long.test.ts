import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Api } from '../../local/api.ts';
import type { Running } from '../../local/running.ts';
import { python } from '../support/python.ts';
import { startStack, type TestStack } from '../support/stack.ts';

const SECONDS = 60;

let stack: TestStack;
let running: Running;
let schemathesis: string;
let folder: string;
beforeAll(async () => {
  schemathesis = await python('schemathesis');
  stack = await startStack();
  running = await stack.running();
  // It keeps what it has found in the folder that it runs in.
  folder = await mkdtemp(join(tmpdir(), 'member-system-fuzz-'));
}, 400_000);
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

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

/** Asks an API whatever its own description allows and forbids. @returns how it ended, and the end of what was said */
async function fuzz(url: string, token: string, ...flags: string[]): Promise<{ code: number; said: string }> {
  const args = [
    ...['run', `${url}/openapi.json`, '--url', url, '--header', `Authorization: Bearer ${token}`],
    ...['--phases', 'coverage,fuzzing,stateful', '--checks', checks.join(','), '--max-time', `${SECONDS}`],
    ...[
      '--max-response-time',
      '5',
      '--request-timeout',
      '10',
      '--continue-on-failure',
      '--warnings',
      'off',
      '--no-color',
    ],
    ...flags,
  ];
  return new Promise((resolve) => {
    const options = { cwd: folder, timeout: 10 * SECONDS * 1000, maxBuffer: 2 ** 28 };
    execFile(schemathesis, args, options, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
      resolve({ code, said: `${stdout}${stderr}`.slice(-5_000) });
    });
  });
}

async function session(): Promise<string> {
  const api = new Api(running.memberUrl);
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
  await api.post('/v1/members', { ...person, name: 'Somebody' });
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  return (await api.post('/v1/sessions', { ...person, device })).token;
}

test.each<[who: string, api: 'member' | 'familyAccount', token: () => Promise<string>, flags: string[]]>([
  ['an operator', 'member', async () => running.memberOperatorToken, []],
  ['an operator', 'familyAccount', async () => running.familyAccountOperatorToken, []],
  // Not to log itself out.
  ['a member', 'member', session, ['--exclude-method', 'DELETE']],
  ['a member', 'familyAccount', session, []],
])(
  'whatever %s asks of the %s API, the answer is one that its description knows, in time, and no 5xx',
  async (_, api, token, flags) => {
    const { code, said } = await fuzz(running[`${api}Url`], await token(), ...flags);
    expect({ code, said }).toEqual({ code: 0, said: expect.stringContaining('No issues found') });
  },
  700_000,
);
