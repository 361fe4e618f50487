import { once } from 'node:events';
import { Client } from 'pg';
import { EventStore } from '#eventing/event-store';
import { RelayWakeUp, WAKE_UP } from '#eventing/outbox';
import { connect } from '#process/database';
import { Lamp, lamps, openFixture } from '../fixture.ts';

test('a commit with an event wakes the relay, on the connection of the transaction', async () => {
  await using fixture = await openFixture();
  const { database, keyring } = fixture;
  const name = 'one-connection';
  const wakeUp: RelayWakeUp = new RelayWakeUp(() => orm);
  const store = new EventStore({ system: lamps, program: 'lamp', keyring, wakeRelay: () => wakeUp.wake() });
  const orm = await connect({ url: database.urls.app, entities: [Lamp], subscribers: [store], name });
  const relay = new Client({ connectionString: database.urls.relay });
  await relay.connect();
  try {
    await relay.query(`listen ${WAKE_UP}`);
    await new Promise(setImmediate);
    const woken = once(relay, 'notification');
    await orm.em.fork().persist(Lamp.install('hall')).flush();
    // Of one commit only: the next could begin before the connection of the wake-up is back.
    await woken;
    const rows = await database.sql('select pid from pg_stat_activity where application_name = $1', [name]);
    expect(rows).toHaveLength(1);
  } finally {
    await relay.end();
    await orm.close(true);
  }
});
