import { Keyring } from '#eventing/keyring';
import { readConfig } from '#service/config';
import { connect } from '#service/database';
import { run } from '#service/run';
import { rewrapAll } from './rewrap.ts';
import { settings } from './settings.ts';

// A command that ends when it is done: when one master key follows another (docs/operate.md).
await run('rewrap', async ({ stack, log }) => {
  const config = readConfig(settings);
  const orm = await connect({ url: config.DATABASE_URL, name: 'rewrap', pool: { max: 1 } });
  stack.defer(() => orm.close(true));
  const rewrapped = await rewrapAll(orm, new Keyring(config.MASTER_KEY), (keys) => log.info({ keys }, 'rewrapped'));
  log.info({ keys: rewrapped }, 'done: all keys are wrapped with the first master key');
  await stack.disposeAsync();
});
