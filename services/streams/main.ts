import { readConfig } from '#service/config';
import { run } from '#service/run';
import { settings } from './settings.ts';
import { ensureStreams } from './streams.ts';

// A command that ends when it is done: `node services/streams/main.ts TOPIC...`, before the first message and whenever limits change.
await run('streams', async ({ log }) => {
  const config = readConfig(settings);
  const topics = process.argv.slice(2);
  if (topics.length === 0) throw new Error('name the topics: node services/streams/main.ts TOPIC...');
  const reports = await ensureStreams(config.NATS_URL, topics, {
    replicas: config.STREAM_REPLICAS,
    maxBytes: config.STREAM_MAX_MIB * 1024 ** 2,
    maxAgeHours: config.STREAM_MAX_AGE_HOURS,
  });
  for (const { topic, created, changed, left } of reports) {
    if (created) log.info({ topic }, 'created');
    if (Object.keys(changed).length > 0) log.info({ topic, changed }, 'its limits are changed');
    if (Object.keys(left).length > 0) log.warn({ topic, left }, 'limits are left as they are: messages would be lost');
  }
  log.info({ topics }, 'done');
});
