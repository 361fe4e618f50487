import { NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

/** Calls an app's own sidecar from its container. @returns status and body */
async function callSidecar(app: string, path: string, { method = 'POST', token = true } = {}): Promise<string> {
  const script = `
    const headers = { 'content-type': 'application/cloudevents+json', ...(${token} && { 'dapr-api-token': process.env.DAPR_API_TOKEN }) };
    const event = { specversion: '1.0', id: 'denied', source: '/test', type: 'test', data: {} };
    const answer = await fetch('http://127.0.0.1:3500/v1.0/${path}', { method: '${method}', headers, body: '${method}' === 'GET' ? undefined : JSON.stringify(event) });
    console.log(answer.status, (await answer.text()).slice(0, 300));`;
  const where = ['--namespace', NAMESPACE, 'exec', `deployment/${app}`, '--container', 'app', '--'];
  return cluster.shell.kubectl(...where, 'node', '--input-type=module', '--eval', script);
}

test.each([
  [
    'member publishing to a topic of another system',
    'member',
    'publish/member-member-internal/family-account-internal',
    /^403 .*ERR_PUBSUB_FORBIDDEN/,
  ],
  [
    'member publishing through a component of another chart',
    'member',
    'publish/workers-member-internal/member-internal',
    /^404 .*ERR_PUBSUB_NOT_FOUND/,
  ],
  [
    'family-account publishing to a topic that it only receives',
    'family-account',
    'publish/family-account-member-external/member-external',
    /^403 .*ERR_PUBSUB_FORBIDDEN/,
  ],
  ['a worker publishing', 'publish-recorder', 'publish/workers-member-internal/member-internal', /^404 /],
  ['a worker calling an API', 'publish-recorder', 'invoke/member/method/v1/sessions/current', /^404 /],
])('%s is denied', async (_, app, path, answer) => {
  expect(await callSidecar(app, path)).toMatch(answer);
});

test('family-account calling other routes of member than it may is denied', async () => {
  const callMember = (path: string, method: string) =>
    callSidecar('family-account', `invoke/member/method/${path}`, { method });
  // A new DNS name stays unknown for a while to clients that looked it up too early.
  const denied = /^403 .*access control policy has denied access/;
  await eventually(async () => expect(await callMember('v1/dead-letters', 'GET')).toMatch(denied), {
    timeoutMs: 40_000,
  });
  expect(await callMember('v1/sessions/current', 'POST')).toMatch(denied);
  // Allowed by the sidecar, and rejected by member itself.
  expect(await callMember('v1/sessions/current', 'GET')).toMatch(/^401 .*unauthenticated/);
  // The routes by which family-account finds and requests missed events.
  expect(await callMember('v1/topics/member-external/published-events', 'GET')).toMatch(/^401 .*unauthenticated/);
  expect(await callMember('v1/topics/member-external/republish', 'POST')).toMatch(/^401 .*unauthenticated/);
});

test('a call of the sidecar without its token is denied', async () => {
  expect(await callSidecar('member', 'metadata', { method: 'GET', token: false })).toMatch(/^401 /);
  expect(await callSidecar('member', 'metadata', { method: 'GET' })).toMatch(/^200 /);
});

test('an event that no sidecar delivers is denied', async () => {
  const script = `const answer = await fetch('http://127.0.0.1:8081/events/member-internal', { method: 'POST' }); console.log(answer.status)`;
  const where = ['--namespace', NAMESPACE, 'exec', 'deployment/publish-recorder', '--container', 'app', '--'];
  expect(await cluster.shell.kubectl(...where, 'node', '--input-type=module', '--eval', script)).toBe('401\n');
});
