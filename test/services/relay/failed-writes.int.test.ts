import { eventually } from '../../support/eventually.ts';
import { keys, RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await RelayFixture.open();
});
afterEach(() => fixture.reset());
afterAll(() => fixture[Symbol.asyncDispose]());

describe('A failing write to the database', () => {
  test('sends no accepted message twice: it is marked as sent once writes succeed', async () => {
    await fixture.fill(keys(20), 2);
    await fixture.database.sql('revoke insert on eventing.relayed from lamp_relay');
    fixture.relay();
    await eventually(() =>
      expect(fixture.log.filter(({ msg }) => msg.startsWith('lost lease')).length).toBeGreaterThan(0),
    );
    await eventually(async () =>
      expect(await fixture.database.sql(`select from pg_stat_activity where application_name = 'relay'`)).toEqual([]),
    );
    await fixture.database.sql('grant insert on eventing.relayed to lamp_relay');
    await fixture.waitUntilSent();
    fixture.expectInOrder();
    expect(fixture.fakeDaprd.arrivals).toHaveLength(40);
  });

  test('sends no accepted message twice when a refused one of its call cannot be held back', async () => {
    // All in one call.
    await fixture.fill(keys(10));
    fixture.fakeDaprd.answer = () => ({ refuse: ({ metadata }) => metadata?.partitionKey === 'key-7' });
    await fixture.database.sql('revoke update on eventing.outbox from lamp_relay');
    fixture.relay();
    await eventually(() => expect(fixture.warnings()).toContain('lost lease, reacquiring'));
    fixture.fakeDaprd.answer = () => 'accept';
    const columns = 'attempts, last_error, next_attempt_at, parked_at';
    await fixture.database.sql(`grant update (${columns}) on eventing.outbox to lamp_relay`);
    await fixture.waitUntilSent();
    expect(fixture.fakeDaprd.arrivals).toHaveLength(10);
  });
});
