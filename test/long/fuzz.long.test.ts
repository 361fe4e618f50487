import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Api } from '../../local/api.ts';
import type { Running } from '../../local/running.ts';
import { publishRaw } from '../e2e/broker.ts';
import { eventually } from '../support/eventually.ts';
import { python } from '../support/python.ts';
import { startStack, type TestStack } from '../support/stack.ts';

const SECONDS = 40;

let stack: TestStack;
let running: Running;
let schemathesis: string;
let folder: string;
beforeAll(async () => {
  schemathesis = await python('schemathesis');
  stack = await startStack();
  running = await stack.running();
}, 400_000);
afterAll(() => stack?.[Symbol.asyncDispose](), 60_000);
beforeEach(async () => {
  // Schemathesis keeps what it has found in the folder that it runs in, and is configured there.
  folder = await mkdtemp(join(tmpdir(), 'member-system-fuzz-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

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

/** Who asks, and what is there for him to meet. */
interface Visit {
  readonly token?: string;
  /** By the path as it is described: of which parameters, such as `path.id` or `body.email`, which values are known to somebody. */
  readonly known?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  /** What would end the visit. */
  readonly without?: readonly string[];
  /** What has to succeed at least once: then more was tried than how ids that nobody has are refused. */
  readonly succeeds: readonly string[];
}

interface Findings {
  readonly code: number;
  /** The end of what was said. */
  readonly said: string;
  /** By `METHOD path` as it is described: the statuses that were answered. */
  readonly answered: ReadonlyMap<string, ReadonlySet<number>>;
}

/** Asks an API whatever its own description allows and forbids. */
async function fuzz(url: string, { token, known = {}, without = [] }: Omit<Visit, 'succeeds'>): Promise<Findings> {
  await writeFile(join(folder, 'schemathesis.toml'), configure(known));
  const har = join(folder, 'all.har');
  const args = [
    ...['run', `${url}/openapi.json`, '--url', url],
    ...(token ? ['--header', `Authorization: Bearer ${token}`] : []),
    ...without.flatMap((operation) => ['--exclude-name', operation]),
    ...['--phases', 'coverage,fuzzing,stateful', '--checks', checks.join(','), '--max-time', `${SECONDS}`],
    ...['--max-response-time', '5', '--request-timeout', '10', '--continue-on-failure'],
    ...['--warnings', 'off', '--no-color', '--report-har-path', har],
  ];
  const ended = await new Promise<{ code: number; said: string }>((resolve) => {
    const options = { cwd: folder, timeout: 10 * SECONDS * 1000, maxBuffer: 2 ** 28 };
    execFile(schemathesis, args, options, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
      resolve({ code, said: `${stdout}${stderr}`.slice(-5_000) });
    });
  });
  return { ...ended, answered: await statusesIn(har, url) };
}

/** Most values are known ones; the others are made up. */
function configure(known: NonNullable<Visit['known']>): string {
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

async function statusesIn(har: string, url: string): Promise<Map<string, Set<number>>> {
  const { log } = JSON.parse(await readFile(har, 'utf8'));
  const { paths } = await new Api(url).get('/openapi.json');
  const patterns = Object.keys(paths)
    // `/v1/sessions/current` before `/v1/sessions/{number}`
    .sort((a, b) => a.split('{').length - b.split('{').length)
    .map((path) => ({ path, pattern: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`) }));
  const answered = new Map<string, Set<number>>();
  for (const { request, response } of log.entries) {
    const asked = new URL(request.url).pathname;
    const name = `${request.method} ${patterns.find(({ pattern }) => pattern.test(asked))?.path ?? asked}`;
    answered.set(name, (answered.get(name) ?? new Set()).add(response.status));
  }
  return answered;
}

const member = (token?: string) => new Api(running.memberUrl, token);
const families = (token?: string) => new Api(running.familyAccountUrl, token);
const operator = () => member(running.memberOperatorToken);

interface Person {
  readonly id: string;
  readonly email: string;
  readonly password: string;
  readonly token: string;
}

async function somebody(): Promise<Person> {
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
  const { id } = await member().post('/v1/members', { ...person, name: 'Somebody' });
  return { id, ...person, token: await logIn(person) };
}

async function logIn({ email, password }: Pick<Person, 'email' | 'password'>): Promise<string> {
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  return (await member().post('/v1/sessions', { email, password, device })).token;
}

async function verified(): Promise<Person> {
  const person = await somebody();
  const verification = { identityVerificationId: `ok-${randomUUID()}` };
  await member(person.token).put(`/v1/members/${person.id}/identity-verification`, verification);
  return person;
}

/** A family account with a second member, and codes that nobody has used. */
async function family() {
  const [owner, second] = [await verified(), await verified()];
  const account = await families(owner.token).post('/v1/family-accounts', { name: 'Home' });
  const invite = async () => (await families(owner.token).post(`/v1/family-accounts/${account.id}/invitations`)).code;
  await families(second.token).post(`/v1/invitations/${await invite()}/acceptance`);
  return { id: account.id as string, owner, second, codes: [await invite(), await invite()] };
}

const eventsOf = async (api: Api, id: string): Promise<string[]> =>
  (await api.get(`/v1/events?aggregateId=${id}`)).events.map((event: { id: string }) => event.id);

async function asOperator(): Promise<Visit> {
  const people = await Promise.all(Array.from({ length: 8 }, somebody));
  const ids = people.map(({ id }) => id);
  // Some of whom it makes withdraw.
  const staying = await somebody();
  const consumer = 'publish-recorder';
  for (let i = 0; i < 5; i++) {
    const stranger = { specversion: '1.0', id: randomUUID(), source: '/stranger', type: 'x', data: 'no event' };
    await publishRaw(running.brokerUrl, 'member-internal', JSON.stringify(stranger));
  }
  const dead = await eventually(async () => {
    const { deliveries } = await operator().get('/v1/dead-letters');
    const mine = deliveries.filter((each: { consumer: string }) => each.consumer === consumer);
    return mine.length >= 5 && mine.map(({ eventId }: { eventId: string }) => eventId);
  });
  const delivery = { 'path.consumer': [consumer], 'path.eventId': dead };
  return {
    token: running.memberOperatorToken,
    known: {
      '/v1/members/{id}': { 'path.id': ids },
      '/v1/members/{id}/login-records': { 'path.id': ids },
      '/v1/members/{id}/identity-verification': { 'path.id': [...ids, staying.id] },
      '/v1/events': { 'query.aggregateId': ids },
      '/v1/events/{id}': { 'path.id': (await Promise.all(ids.map((id) => eventsOf(operator(), id)))).flat() },
      '/v1/topics/{topic}/published-events': { 'query.after': ['0_00000000-0000-0000-0000-000000000000'] },
      '/v1/topics/{topic}/republish': { 'body.target': ['other-device-logout'] },
      '/v1/dead-letters/{consumer}/{eventId}': delivery,
      '/v1/dead-letters/{consumer}/{eventId}/discard': delivery,
    },
    succeeds: [
      'GET /v1/members/{id}',
      'DELETE /v1/members/{id}',
      'GET /v1/members/{id}/login-records',
      'DELETE /v1/members/{id}/identity-verification',
      'GET /v1/events',
      'GET /v1/events/{id}',
      'GET /v1/event-heads',
      'GET /v1/topics/{topic}/latest-event',
      'GET /v1/topics/{topic}/published-events',
      'POST /v1/topics/{topic}/republish',
      'GET /v1/dead-letters/{consumer}/{eventId}',
      'POST /v1/dead-letters/{consumer}/{eventId}/discard',
    ],
  };
}

async function asMember(): Promise<Visit> {
  const self = await somebody();
  const other = await somebody();
  const id = { 'path.id': [self.id, self.id, self.id, other.id] };
  return {
    token: self.token,
    known: {
      '/v1/members/{id}': { ...id, 'body.email': [self.email, other.email] },
      '/v1/members/{id}/login-records': id,
      '/v1/members/{id}/password': { ...id, 'body.currentPassword': [self.password] },
      '/v1/members/{id}/identity-verification': {
        ...id,
        'body.identityVerificationId': [`ok-${randomUUID()}`, `ok-${randomUUID()}`, `no-${randomUUID()}`, 'unknown'],
      },
    },
    without: [
      'DELETE /v1/members/{id}',
      'DELETE /v1/sessions/current',
      'DELETE /v1/sessions/{number}',
      // It finds out the device, logs somebody else in there, and is logged out.
      'POST /v1/sessions',
    ],
    succeeds: [
      'GET /v1/members/{id}',
      'PATCH /v1/members/{id}',
      'GET /v1/members/{id}/login-records',
      'PUT /v1/members/{id}/identity-verification',
      'DELETE /v1/members/{id}/identity-verification',
      'POST /v1/members',
      'GET /v1/sessions',
      'GET /v1/sessions/current',
    ],
  };
}

async function asFamilyMember(): Promise<Visit> {
  const [own, another] = [await family(), await family()];
  const id = { 'path.id': [own.id, own.id, own.id, another.id] };
  return {
    token: own.owner.token,
    known: {
      '/v1/family-accounts/{id}': id,
      '/v1/family-accounts/{id}/owner': { ...id, 'body.memberId': [own.owner.id, another.owner.id] },
      '/v1/family-accounts/{id}/members/{memberId}': { ...id, 'path.memberId': [own.second.id, another.owner.id] },
      '/v1/family-accounts/{id}/invitations': id,
      '/v1/invitations/{code}/acceptance': { 'path.code': [...own.codes, ...another.codes] },
    },
    succeeds: ['GET /v1/family-accounts', 'GET /v1/family-accounts/{id}', 'POST /v1/family-accounts/{id}/invitations'],
  };
}

async function asFamilyOperator(): Promise<Visit> {
  const { id } = await family();
  const api = families(running.familyAccountOperatorToken);
  return {
    token: running.familyAccountOperatorToken,
    known: {
      '/v1/family-accounts/{id}': { 'path.id': [id] },
      '/v1/events': { 'query.aggregateId': [id] },
      '/v1/events/{id}': { 'path.id': await eventsOf(api, id) },
      '/v1/topics/{topic}/latest-event': { 'path.topic': ['family-account-external'] },
    },
    succeeds: [
      'GET /v1/family-accounts/{id}',
      'GET /v1/events',
      'GET /v1/events/{id}',
      'GET /v1/topics/{topic}/latest-event',
    ],
  };
}

async function asNobody(...succeeds: string[]): Promise<Visit> {
  const [person, { id, codes }] = [await somebody(), await family()];
  return {
    known: {
      '/v1/members/{id}': { 'path.id': [person.id] },
      '/v1/sessions': { 'body.email': [person.email], 'body.password': [person.password] },
      '/v1/family-accounts/{id}': { 'path.id': [id] },
      '/v1/invitations/{code}/acceptance': { 'path.code': codes },
    },
    succeeds,
  };
}

const OPEN_TO_NOBODY = ['POST /v1/members', 'POST /v1/sessions'];

test.each<[who: string, api: 'member' | 'familyAccount', prepare: () => Promise<Visit>]>([
  ['an operator', 'member', asOperator],
  ['an operator', 'familyAccount', asFamilyOperator],
  ['a member', 'member', asMember],
  ['a member', 'familyAccount', asFamilyMember],
  ['nobody', 'member', () => asNobody(...OPEN_TO_NOBODY)],
  ['nobody', 'familyAccount', () => asNobody()],
])(
  'whatever %s asks of the %s API, the answer is one that its description knows, in time, and no 5xx',
  async (who, api, prepare) => {
    const { succeeds, ...visit } = await prepare();
    const { code, said, answered } = await fuzz(running[`${api}Url`], visit);
    expect({ code, said }).toEqual({ code: 0, said: expect.stringContaining('No issues found') });
    const succeeded = [...answered]
      .filter(([name, statuses]) => !name.startsWith('OPTIONS ') && [...statuses].some((status) => status < 300))
      .map(([name]) => name);
    expect(succeeded).toEqual(expect.arrayContaining([...succeeds]));
    if (who === 'nobody') expect(succeeded.filter((name) => !OPEN_TO_NOBODY.includes(name))).toEqual([]);
  },
  700_000,
);
