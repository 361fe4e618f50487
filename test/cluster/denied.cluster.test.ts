import { NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

/** What an app's own sidecar answers it. */
async function sidecarAnswers(app: string, path: string, { method = 'POST', token = true } = {}): Promise<string> {
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
    'member publishes to a topic that is not its own',
    'member',
    'publish/member-member-internal/family-account-internal',
    /^403 .*ERR_PUBSUB_FORBIDDEN/,
  ],
  [
    'member publishes through another chart’s component',
    'member',
    'publish/workers-member-internal/member-internal',
    /^404 .*ERR_PUBSUB_NOT_FOUND/,
  ],
  [
    'family-account publishes to what it only hears',
    'family-account',
    'publish/family-account-member-external/member-external',
    /^403 .*ERR_PUBSUB_FORBIDDEN/,
  ],
  ['a worker publishes', 'publish-recorder', 'publish/workers-member-internal/member-internal', /^404 /],
  ['a worker calls an API', 'publish-recorder', 'invoke/member/method/v1/sessions/current', /^404 /],
])('refused: %s', async (_, app, path, answer) => {
  expect(await sidecarAnswers(app, path)).toMatch(answer);
});

test('refused: family-account asks member for what it may not', async () => {
  const ask = (path: string, method: string) =>
    sidecarAnswers('family-account', `invoke/member/method/${path}`, { method });
  // A name that has just come into being is unknown for a while to whoever asked for it before.
  const denied = /^403 .*access control policy has denied access/;
  await eventually(async () => expect(await ask('v1/dead-letters', 'GET')).toMatch(denied), { timeoutMs: 40_000 });
  expect(await ask('v1/sessions/current', 'POST')).toMatch(denied);
  // Let through by its sidecar, and refused by member itself.
  expect(await ask('v1/sessions/current', 'GET')).toMatch(/^401 .*unauthenticated/);
  // By which it finds out what it has missed, and gets it.
  expect(await ask('v1/topics/member-external/published-events', 'GET')).toMatch(/^401 .*unauthenticated/);
  expect(await ask('v1/topics/member-external/republish', 'POST')).toMatch(/^401 .*unauthenticated/);
});

test('refused: whoever has not the sidecar’s token', async () => {
  expect(await sidecarAnswers('member', 'metadata', { method: 'GET', token: false })).toMatch(/^401 /);
  expect(await sidecarAnswers('member', 'metadata', { method: 'GET' })).toMatch(/^200 /);
});

test('refused: an event that no sidecar brings', async () => {
  const script = `const answer = await fetch('http://127.0.0.1:8080/events/member-internal', { method: 'POST' }); console.log(answer.status)`;
  const where = ['--namespace', NAMESPACE, 'exec', 'deployment/publish-recorder', '--container', 'app', '--'];
  expect(await cluster.shell.kubectl(...where, 'node', '--input-type=module', '--eval', script)).toBe('401\n');
});
