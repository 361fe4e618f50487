import { readConfig } from '#process/config';
import { run } from '#process/run';
import { ensureConsumers } from './ensure-consumers.ts';
import { consumerSettings } from './settings.ts';

// One-off command: `node ops/jetstream/update-consumers.ts TOPIC=APP,APP...`. Run it before sidecars subscribe.
await run('consumers', async ({ log }) => {
  const config = readConfig(consumerSettings);
  const parsed = process.argv.slice(2).map((each) => /^([\w-]+)=([\w-]+(?:,[\w-]+)*)$/.exec(each));
  if (parsed.length === 0 || parsed.includes(null))
    throw new Error('invalid arguments: run node ops/jetstream/update-consumers.ts TOPIC=APP,APP...');
  const subscriptions = Object.fromEntries(parsed.map((match) => [match![1]!, match![2]!.split(',')]));
  const reports = await ensureConsumers(config.NATS_URL, subscriptions, {
    backOffSeconds: config.CONSUMER_BACK_OFF_SECONDS,
    maxAckPending: config.CONSUMER_MAX_ACK_PENDING,
    recreateBound: config.CONSUMER_RECREATE_BOUND,
  });
  for (const { consumer, created, changed, startsOver } of reports) {
    if (created) log.info({ consumer }, 'created');
    if (Object.keys(changed).length > 0) log.info({ consumer, changed }, 'settings changed');
    if (startsOver)
      log.warn({ consumer, reason: startsOver }, 'recreated at the start of its topic: all messages are redelivered');
  }
  log.info({ consumers: reports.map(({ consumer }) => consumer) }, 'done');
});
