import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { envelope } from '#eventing/cloud-event';
import { Api } from '../../local/demo/api.ts';
import type { Running } from '../../local/supervisor/running.ts';
import { daprd } from '../../local/toolchain/programs.ts';
import { freePort } from '../../local/topology/ports.ts';
import { eventually } from '../support/eventually.ts';
import { programPath } from '../support/helm.ts';
import { startStack, type TestStack } from '../support/stack.ts';

let stack: TestStack;
let running: Running;
beforeAll(async () => {
  stack = await startStack();
  running = await stack.running();
});
afterAll(() => stack?.[Symbol.asyncDispose]());

/** Starts a sidecar that does not belong to the system, but finds its apps through the file of name resolution. */
async function startRogueSidecar(
  appId: string,
  { flags = [], env = {} }: { flags?: string[]; env?: Record<string, string> } = {},
) {
  const [http, grpc, internal] = await Promise.all([freePort(), freePort(), freePort()]);
  const file = join(stack.dataDir, `${appId}.yaml`);
  const names = { connectionString: join(stack.dataDir, 'dapr-names.db'), updateInterval: '8760h' };
  const spec = { nameResolution: { component: 'sqlite', configuration: names } };
  // JSON is YAML.
  const configuration = { apiVersion: 'dapr.io/v1alpha1', kind: 'Configuration', metadata: { name: appId }, spec };
  await writeFile(file, JSON.stringify(configuration));
  const all = [
    ...['--app-id', appId, '--config', file, '--enable-metrics=false', '--disable-init-endpoints', 'config,subscribe'],
    ...['--dapr-http-port', http, '--dapr-grpc-port', grpc, '--dapr-internal-grpc-port', internal].map(String),
    ...['--dapr-listen-addresses', '127.0.0.1', '--dapr-internal-grpc-listen-address', '127.0.0.1'],
    ...flags,
  ];
  const child = spawn(await programPath(daprd), all, { stdio: 'ignore', env: { DAPR_HOST_IP: '127.0.0.1', ...env } });
  const ended = once(child, 'exit');
  await eventually(async () => (await fetch(`http://127.0.0.1:${http}/v1.0/healthz/outbound`)).ok);
  return {
    /** Does not use fetch, which drops a caller's `Connection` header. */
    async invoke(target: string, path: string, body: string, headers: Record<string, string> = {}) {
      const invocation = request({
        port: http,
        path: `/v1.0/invoke/${target}/method${path}`,
        method: 'POST',
        headers: { 'content-type': 'application/cloudevents+json', ...headers },
      }).end(body);
      const [answer] = await once(invocation, 'response');
      return { status: answer.statusCode as number, body: await text(answer) };
    },
    async [Symbol.asyncDispose]() {
      child.kill();
      await ended;
    },
  };
}

/** Makes daprd drop its headers about the caller, as a proxy drops hop-by-hop headers. */
const WITHOUT_CALLER = { connection: 'dapr-caller-app-id, dapr-callee-app-id, dapr-caller-namespace' };
const NO_EVENT = 'not an event: becomes a dead letter if it is taken for a delivery';
const SUBSCRIBERS = [
  ['publish-recorder', 'member-internal'],
  ['external-broadcaster', 'member-internal'],
  ['family-account', 'member-external'],
] as const;

async function deadLetters(): Promise<{ consumer: string; lastError: string }[]> {
  const members = new Api(running.memberOperationsUrl, running.memberOperatorToken);
  const families = new Api(running.familyAccountOperationsUrl, running.familyAccountOperatorToken);
  const all = await Promise.all([members, families].map((api) => api.get('/v1/dead-letters')));
  return all.flatMap(({ deliveries }) => deliveries);
}

test('an event invoked by a rogue sidecar is denied by the subscriber’s sidecar, without a trace', async () => {
  await using rogue = await startRogueSidecar(`rogue-${randomUUID()}`);
  for (const [app, topic] of SUBSCRIBERS)
    for (const headers of [{}, WITHOUT_CALLER]) {
      const { status, body } = await rogue.invoke(app, `/events/${topic}`, NO_EVENT, headers);
      expect([app, status, body]).toEqual([app, 403, expect.stringContaining('access control policy has denied')]);
    }
  expect(await deadLetters()).toEqual([]);
});

test('the member API takes no event from a rogue sidecar and requires a credential', async () => {
  await using rogue = await startRogueSidecar(`rogue-${randomUUID()}`);
  for (const headers of [{}, WITHOUT_CALLER])
    expect(await rogue.invoke('member', '/events/member-internal', NO_EVENT, headers)).toMatchObject({
      status: 503,
    });
  expect(await rogue.invoke('member', '/v1/topics/member-external/republish', '{}')).toMatchObject({ status: 401 });
  expect(await deadLetters()).toEqual([]);
});

test('the files with addresses and secrets of sidecars are readable by their owner only', async () => {
  for (const name of ['dapr-names.db', 'secrets.json', 'running.json'])
    expect([name, (await stat(join(stack.dataDir, name))).mode & 0o077]).toEqual([name, 0]);
});

test('an invoked event becomes a dead letter, not applied, if the sidecar lets it through', async () => {
  const { appApiToken } = JSON.parse(await readFile(join(stack.dataDir, 'secrets.json'), 'utf8'));
  await using rogue = await startRogueSidecar(`rogue-${randomUUID()}`);
  const withdrawal = envelope({
    id: randomUUID(),
    eventid: randomUUID(),
    source: '/member',
    type: 'member.withdrawn',
    subject: randomUUID(),
    sequence: '0000000001',
    time: new Date().toISOString(),
    traceparent: '',
    data: {},
  });
  for (const [app, topic] of SUBSCRIBERS) {
    const lax = `lax-${app}-${randomUUID()}`;
    const flags = ['--app-port', `${running.processes[app]!.ports.sidecar}`];
    await using _ = await startRogueSidecar(lax, { flags, env: { APP_API_TOKEN: appApiToken } });
    // Until the sidecar has found its app.
    await eventually(async () =>
      expect(await rogue.invoke(lax, `/events/${topic}`, JSON.stringify(withdrawal))).toMatchObject({ status: 200 }),
    );
  }
  const dead = await deadLetters();
  expect(dead.map(({ consumer }) => consumer).sort()).toEqual(SUBSCRIBERS.map(([app]) => `${app}:body`).sort());
  for (const { lastError } of dead) expect(lastError).toMatch(/invoked by an app, not delivered/);
});
