import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Pool } from 'undici';
import { streamLimits } from '../local/topology/broker.ts';
import { ensureStreams } from '../ops/jetstream/streams.ts';
import { eachId } from './feeds.ts';
import { DAPR_TOKEN, TOPIC } from './harness.ts';
import { NOTE } from './lamps.ts';
import type { PathStage } from './path-stage.ts';
import type { Pipeline } from './pipeline.ts';
import { startSidecarWith } from './sidecar.ts';

const APP_ID = 'outbox-writer';
const COMPONENT = 'outbox-broker';
const STORE = 'outbox-store';
/** The topic that daprd publishes to before it writes the state: its namespace, its app-id, the topic and "outbox". */
const INTERNAL_TOPIC = `default${APP_ID}${TOPIC}outbox`;

/** Dapr's own outbox: a state transaction through daprd, which publishes it to the topic; the effect is made by the floor's app. */
export async function daprOutbox(stage: PathStage, stack: AsyncDisposableStack): Promise<Pipeline> {
  const { broker, progress, folder, ownerUrl } = stage;
  await ensureStreams(broker.url, [INTERNAL_TOPIC], streamLimits);
  const resources = join(folder, 'dapr-outbox');
  await mkdir(resources, { recursive: true });
  const component = (name: string, type: string, version: string, values: Record<string, string>) => {
    const metadata = Object.entries(values).map(([key, value]) => ({ name: key, value }));
    const kind = { apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name } };
    // JSON is YAML.
    return writeFile(join(resources, `${name}.yaml`), JSON.stringify({ ...kind, spec: { type, version, metadata } }));
  };
  // daprd waits a second before it publishes a message of its outbox: with "single" that is one event a second.
  const concurrencyMode = 'parallel';
  const consumer = {
    concurrencyMode,
    durableName: APP_ID,
    queueGroupName: APP_ID,
    deliverPolicy: 'all',
    ackWait: '15s',
  };
  await component(COMPONENT, 'pubsub.jetstream', 'v1', { natsURL: broker.url, name: APP_ID, ...consumer });
  const outbox = { outboxPublishPubsub: COMPONENT, outboxPublishTopic: TOPIC };
  await component(STORE, 'state.postgresql', 'v2', { connectionString: ownerUrl, ...outbox });
  const sidecar = await startSidecarWith(stack, broker, progress, { 'app-id': APP_ID, 'resources-path': resources });
  const pool = new Pool(`http://127.0.0.1:${sidecar.port}`, { connections: 8 });
  stack.defer(() => pool.close());
  const headers = { 'content-type': 'application/json', 'dapr-api-token': DAPR_TOKEN };
  const path = `/v1.0/state/${STORE}/transaction`;
  return {
    name: 'Dapr’s outbox, parallel',
    feed: eachId(async (id) => {
      const value = { eventid: id, note: NOTE, more: NOTE };
      // Without it daprd publishes the value as Go prints it.
      const metadata = { contentType: 'application/json' };
      const body = JSON.stringify({ operations: [{ operation: 'upsert', request: { key: id, value, metadata } }] });
      const answer = await pool.request({ method: 'POST', path, headers, body });
      if (answer.statusCode !== 204) throw new Error(`daprd: ${answer.statusCode} ${await answer.body.text()}`);
      await answer.body.dump();
    }),
    apps: [{ appId: 'consumer', program: 'orm-floor' }],
    start: async () => ({ 'writing daprd': [sidecar.pid] }),
  };
}
