import { Keyring } from '#eventing/keyring';
import { readConfig } from '#process/config';
import { connect } from '#process/database';
import { run } from '#process/run';
import { rewrapAll } from './rewrap-keys.ts';
import { settings } from './settings.ts';

// One-off command, for the rotation of the master key (docs/operate.md).
await run('rewrap', async ({ stack, log }) => {
  const config = readConfig(settings);
  const orm = await connect({ url: config.DATABASE_URL, name: 'rewrap', pool: { max: 1 } });
  stack.defer(() => orm.close(true));
  const rewrapped = await rewrapAll(orm, new Keyring(config.MASTER_KEY), (keys) => log.info({ keys }, 'rewrapped'));
  log.info({ keys: rewrapped }, 'done: all keys are wrapped with the first master key');
  await stack.disposeAsync();
});
