import { readConfig } from '#process/config';
import { run } from '#process/run';
import { settings } from './settings.ts';
import { ensureStreams } from './streams.ts';

// One-off command: `node ops/jetstream/create-streams.ts TOPIC...`. Run it before the first message and when limits
// change.
await run('streams', async ({ log }) => {
  const config = readConfig(settings);
  const topics = process.argv.slice(2);
  if (topics.length === 0) throw new Error('missing topics: run node ops/jetstream/create-streams.ts TOPIC...');
  const reports = await ensureStreams(config.NATS_URL, topics, {
    replicas: config.STREAM_REPLICAS,
    maxBytes: config.STREAM_MAX_MIB * 1024 ** 2,
    maxAgeHours: config.STREAM_MAX_AGE_HOURS,
  });
  for (const { topic, created, changed, left } of reports) {
    if (created) log.info({ topic }, 'created');
    if (Object.keys(changed).length > 0) log.info({ topic, changed }, 'limits changed');
    if (Object.keys(left).length > 0) log.warn({ topic, left }, 'limits not lowered: messages would be lost');
  }
  log.info({ topics }, 'done');
});
