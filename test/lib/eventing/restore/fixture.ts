import { type Envelope, readEnvelope } from '#eventing/cloud-event';
import { withProvenance } from '#eventing/provenance';
import { type RestoreOptions, restore } from '#eventing/restore';
import { snapshotOf } from '../../../support/snapshot.ts';
import { type Fixture, Lamp, lampEvents, lamps, openFixture } from '../fixture.ts';

/** Opened before each test and disposed after it. */
export let fixture: Fixture;
beforeEach(async () => {
  fixture = await openFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

/** Takes a snapshot of the database. @returns a function that restores it */
export const backUp = () => snapshotOf(fixture.database);

export const change = (lamp: Lamp, how: (lamp: Lamp) => void) =>
  fixture.orm.em.fork().transactional(async (em) => how(await em.findOneOrFail(Lamp, lamp.id)));

/** Returns the messages of the internal topic, oldest first. */
export const topic = async (): Promise<Envelope[]> =>
  (await fixture.database.sql<{ envelope: Envelope }>('select envelope from eventing.outbox order by position')).map(
    ({ envelope }) => envelope,
  );

export async function* bodies(envelopes: readonly unknown[]): AsyncGenerator<string> {
  for (const envelope of envelopes) yield typeof envelope === 'string' ? envelope : JSON.stringify(envelope);
}

export const silentLog = { info: () => undefined, warn: () => undefined };
export const NO_CHANGES = { imported: 0, notReplayed: 0, conflicts: 0, gaps: 0, aggregates: 0 };
const noop = async () => undefined;

/** Restores from a topic that holds these messages and reaches back indefinitely. */
export const restoreFrom = (envelopes: readonly unknown[], options: Partial<RestoreOptions> = {}) =>
  withProvenance({ requestedBy: 'restore' }, () =>
    restore({
      orm: fixture.orm,
      system: lamps,
      events: lampEvents,
      topic: { since: new Date(0), messages: bodies(envelopes) },
      replay: noop,
      end: noop,
      log: silentLog,
      ...options,
    }),
  );

/** Returns the messages in the outbox, in the relay's order. */
export const pendingMessages = async () => (await topic()).map((it) => readEnvelope(it));
/** Returns the pending messages of a lamp in short form: `1 lamp.installed`. */
export const pendingTypesOf = async (lamp: Pick<Lamp, 'id'>) =>
  (await pendingMessages())
    .filter(({ aggregateId }) => aggregateId === lamp.id)
    .map(({ sequence, type }) => `${sequence} ${type}`);

/** Returns a lamp two of whose events the database has lost, with its three events and their messages. */
export async function lampWithTwoLostEvents() {
  const lamp = await fixture.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.switchOn());
  await change(lamp, (it) => it.inspect('it flickers'));
  const [events, messages] = [await fixture.storedEvents(lamp), await topic()];
  await restoreDatabase();
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed']);
  return { lamp, events, messages };
}
