import { type Envelope, readEnvelope } from '#eventing/cloud-event';
import { withProvenance } from '#eventing/provenance';
import { type RestoreOptions, restore } from '#eventing/restore';
import { snapshotOf } from '../../support/snapshot.ts';
import { type Lab, Lamp, lampEvents, lamps, openLab } from './lab.ts';

/** Of each test its own, made before it and gone after it. */
export let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(() => lab[Symbol.asyncDispose]());

/** A database that can be made what it is now. */
export const backUp = () => snapshotOf(lab.database);

export const change = (lamp: Lamp, how: (lamp: Lamp) => void) =>
  lab.orm.em.fork().transactional(async (em) => how(await em.findOneOrFail(Lamp, lamp.id)));

/** What the internal topic has of all that was stated, oldest first. */
export const topic = async (): Promise<Envelope[]> =>
  (await lab.database.sql<{ envelope: Envelope }>('select envelope from eventing.outbox order by position')).map(
    ({ envelope }) => envelope,
  );

export async function* bodies(envelopes: readonly unknown[]): AsyncGenerator<string> {
  for (const envelope of envelopes) yield typeof envelope === 'string' ? envelope : JSON.stringify(envelope);
}

export const quietly = { info: () => undefined, warn: () => undefined };
export const NOTHING = { putBack: 0, notRecalled: 0, overtaken: 0, gaps: 0, aggregates: 0 };
const nothing = async () => undefined;

/** Restores from a topic that has these messages, and reaches back for ever. */
export const restoreFrom = (envelopes: readonly unknown[], options: Partial<RestoreOptions> = {}) =>
  withProvenance({ requestedBy: 'restore' }, () =>
    restore({
      orm: lab.orm,
      system: lamps,
      events: lampEvents,
      topic: { since: new Date(0), messages: bodies(envelopes) },
      recall: nothing,
      end: nothing,
      log: quietly,
      ...options,
    }),
  );

/** What waits for the relay, in its order. */
export const waiting = async () => (await topic()).map((it) => readEnvelope(it));
export const told = async (lamp: Pick<Lamp, 'id'>) =>
  (await waiting())
    .filter(({ aggregateId }) => aggregateId === lamp.id)
    .map(({ sequence, type }) => `${sequence} ${type}`);

/** A lamp with two facts that the database loses. */
export async function lampThatLosesTwo() {
  const lamp = await lab.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.switchOn());
  await change(lamp, (it) => it.inspect('it flickers'));
  const [facts, messages] = [await lab.factsOf(lamp), await topic()];
  await restoreDatabase();
  expect(await lab.typesOf(lamp)).toEqual(['1 lamp.installed']);
  return { lamp, facts, messages };
}
