import { readConfig } from '#service/config';
import { run } from '#service/run';
import { consumerSettings } from './settings.ts';
import { updateConsumers } from './update-consumers.ts';

// A command that ends when it is done: `node services/streams/consumers.ts TOPIC=APP,APP...`, before sidecars ask for other settings.
await run('consumers', async ({ log }) => {
  const config = readConfig(consumerSettings);
  const given = process.argv.slice(2).map((each) => /^([\w-]+)=([\w-]+(?:,[\w-]+)*)$/.exec(each));
  if (given.length === 0 || given.includes(null))
    throw new Error('name the topics and who hears them: node services/streams/consumers.ts TOPIC=APP,APP...');
  const subscriptions = Object.fromEntries(given.map((match) => [match![1]!, match![2]!.split(',')]));
  const reports = await updateConsumers(config.NATS_URL, subscriptions, {
    backOffSeconds: config.CONSUMER_BACK_OFF_SECONDS,
    maxAckPending: config.CONSUMER_MAX_ACK_PENDING,
  });
  for (const { consumer, changed } of reports)
    if (Object.keys(changed).length > 0) log.info({ consumer, changed }, 'its settings are changed');
  log.info({ consumers: reports.map(({ consumer }) => consumer) }, 'done');
});
