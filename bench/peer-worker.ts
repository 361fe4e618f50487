// The worker of another product in a process of its own: `node bench/peer-worker.ts <way>`.
import { jetstream } from '@nats-io/jetstream';
import { Pool } from 'pg';
import { connectNats } from '#eventing-host/jetstream';
import { TOPIC } from './harness.ts';
import { loadPeer } from './peer-packages.ts';
import { OUTBOX, openBoss, QUEUE } from './peers-setup.ts';

const [ownerUrl, superuserUrl, natsUrl] = [process.env.OWNER_URL!, process.env.SUPERUSER_URL!, process.env.NATS_URL!];
/** As many as a consumer of this project has. */
const CONNECTIONS = 4;

interface Payload {
  readonly eventid: string;
}

const workers: Record<string, () => Promise<unknown>> = {
  polling: async () => {
    const { initializePollingMessageListener, getDisabledLogger } = loadPeer('pg-transactional-outbox');
    const names = { nextMessagesFunctionSchema: OUTBOX.schema, nextMessagesFunctionName: OUTBOX.nextMessagesName };
    const settings = { ...outbox, ...names, nextMessagesBatchSize: 25, nextMessagesPollingIntervalInMs: 25 };
    initializePollingMessageListener({ ...connections(ownerUrl), settings }, await toBroker(), getDisabledLogger());
  },
  replication: async () => {
    const peer = loadPeer('pg-transactional-outbox');
    const slot = { dbPublication: OUTBOX.publication, dbReplicationSlot: OUTBOX.replicationSlot };
    peer.initializeReplicationMessageListener(
      { ...connections(superuserUrl), settings: { ...outbox, ...slot } },
      await toBroker(),
      peer.getDisabledLogger(),
    );
  },
  'graphile-worker': async () => {
    const apply = applyWith(new Pool({ connectionString: ownerUrl, max: CONNECTIONS }));
    const taskList = { [QUEUE]: (payload: Payload) => apply(payload.eventid) };
    const { Logger } = loadPeer('graphile-worker');
    const logger = new Logger(() => () => undefined);
    await loadPeer('graphile-worker').run({ connectionString: ownerUrl, concurrency: CONNECTIONS, taskList, logger });
  },
  'pg-boss': async () => {
    const apply = applyWith(new Pool({ connectionString: ownerUrl, max: CONNECTIONS }));
    const boss = await openBoss(ownerUrl);
    const options = { batchSize: 100, pollingIntervalSeconds: 0.5 };
    await boss.work(QUEUE, options, async (jobs: { data: Payload }[]) => {
      for (const { data } of jobs) await apply(data.eventid);
    });
  },
};

const outbox = {
  dbSchema: OUTBOX.schema,
  dbTable: OUTBOX.table,
  enableMaxAttemptsProtection: true,
  enablePoisonousMessageProtection: true,
};
const connections = (listenerUrl: string) => ({
  outboxOrInbox: 'outbox',
  dbListenerConfig: { connectionString: listenerUrl },
  dbHandlerConfig: { connectionString: ownerUrl, max: 10 },
});

await workers[process.argv[2]!]!();
process.send!('ready');

/** Publishes each message to JetStream, and waits for its acknowledgement. */
async function toBroker() {
  const client = jetstream(await connectNats(natsUrl));
  return {
    handle: async ({ id, payload }: { id: string; payload: Payload }): Promise<void> => {
      await client.publish(TOPIC, JSON.stringify({ id, ...payload }), { msgID: id });
    },
  };
}

/** One transaction in pg: an inbox row and the effect. */
function applyWith(pool: Pool) {
  return async (eventId: string): Promise<void> => {
    const client = await pool.connect();
    await client.query('begin');
    const inbox = 'insert into floor_inbox (consumer, event_id) values ($1, $2) on conflict do nothing';
    const { rowCount } = await client.query({ name: 'inbox', text: inbox, values: ['peer', eventId] });
    const effect = 'insert into effect (event_id) values ($1)';
    if (rowCount) await client.query({ name: 'effect', text: effect, values: [eventId] });
    await client.query('commit');
    client.release();
  };
}
