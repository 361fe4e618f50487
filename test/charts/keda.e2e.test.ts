import { helmPrograms, render } from '../support/helm.ts';
import { kedaQuery } from './keda-query.ts';
import { ofKind } from './manifests.ts';

let helm: string;
beforeAll(async () => {
  [helm] = (await helmPrograms()) as [string];
});

const triggers = async (chart: string, values: string) =>
  Object.fromEntries(
    ofKind(await render(helm, chart, values), 'ScaledObject').map(({ metadata, spec }) => [
      metadata.name,
      spec.triggers.map(({ type, metadata: given }: { type: string; metadata: object }) => ({ type, ...given })),
    ]),
  );

test('an API scales by the messages in its own outbox, counted up to its maximum of pods', async () => {
  for (const chart of ['member', 'family-account']) {
    const given = await triggers(chart, 'api: { keda: { enabled: true, maxReplicas: 6, waitingMessages: 40 } }');
    const query = kedaQuery('outbox', { system: chart, limit: 240 });
    expect(given[chart]).toEqual([{ type: 'postgresql', query, targetQueryValue: '40' }]);
  }
});

test('a worker scales by its consumer’s pending messages, the recorder by unconfirmed ones', async () => {
  const values = `
defaults: { keda: { enabled: true, waitingMessages: 40 } }
broker: { jetstream: { monitoring: { endpoint: "nats.nats.svc.cluster.local:8222", tls: true, account: MEMBER } } }`;
  const { 'publish-recorder': recorder, ...others } = await triggers('workers', values);
  const query = kedaQuery('relayed', { system: 'member', limit: 320 });
  expect(recorder).toEqual([{ type: 'postgresql', query, targetQueryValue: '40' }]);
  expect(Object.keys(others).length).toBe(4);
  for (const [worker, given] of Object.entries(others))
    expect(given).toEqual([
      {
        type: 'nats-jetstream',
        natsServerMonitoringEndpoint: 'nats.nats.svc.cluster.local:8222',
        useHttps: 'true',
        account: 'MEMBER',
        stream: 'member-internal',
        consumer: `${worker}-member-internal`,
        lagThreshold: '40',
      },
    ]);
});

test('KEDA’s consumers are the durables of the Components', async () => {
  const [component] = ofKind(await render(helm, 'workers'), 'Component');
  expect(component!.spec.metadata).toContainEqual({ name: 'durableName', value: '{appID}-member-internal' });
});
