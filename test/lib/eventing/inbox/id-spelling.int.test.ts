import { v7 as uuid } from 'uuid';
import { type Envelope, envelope, readEnvelope } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { Inbox } from '#eventing/inbox';
import { LOWER_CASE_IDS } from '../../../../lib/eventing/migrations/0007-lower-case-ids.ts';
import { eventually } from '../../../support/eventually.ts';
import { eventOf, type Fixture, openFixture } from '../fixture.ts';

let fixture: Fixture;
const log = { warn: () => undefined, error: () => undefined };
beforeAll(async () => {
  fixture = await openFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const message = (subject: string, sequence: number) =>
  envelope({
    id: uuid(),
    source: '/lamp',
    type: 'lamp.inspected',
    subject,
    time: new Date().toISOString(),
    eventid: uuid(),
    sequence: `${sequence}`,
    traceparent: '',
    data: {},
  });

test.each(['1 2 3', '3 2 1', '2 1 3'])(
  'events of an aggregate whose id has two spellings are applied in sequence: %s',
  async (order) => {
    const applied: number[] = [];
    const consumer: Consumer = {
      name: `ordered-${uuid()}`,
      order: 'ordered',
      types: 'all',
      handle: async (_, event) => void applied.push(event.sequence),
    };
    await using inbox = new Inbox(fixture.orm, { ownSource: '/other', log });
    inbox.start([consumer]);
    const id = uuid();
    for (const sequence of order.split(' ').map(Number))
      await inbox.deliver(consumer, readEnvelope(message(sequence === 2 ? id.toUpperCase() : id, sequence)));
    await eventually(async () => expect(applied).toEqual([1, 2, 3]));
  },
);

test('the values of an event whose ids are in upper case can be decrypted', async () => {
  const lamp = await fixture.install('hall');
  const [row] = await fixture.database.sql<{ envelope: Envelope }>(
    'select envelope from eventing.outbox where ordering_key = $1',
    [lamp.id],
  );
  const { subject, eventid, ...rest } = row!.envelope;
  const event = readEnvelope({ ...rest, subject: subject.toUpperCase(), eventid: eventid.toUpperCase() });
  expect(await fixture.keyring.reveal(fixture.orm.em.fork(), event, event.data.attributes)).toEqual({ place: 'hall' });
});

test.each(['2 in upper case after 1', 'all in upper case'])(
  'an aggregate stored in upper case is continued after the upgrade: %s',
  async (before) => {
    const applied: number[] = [];
    const consumer: Consumer = {
      name: `ordered-${uuid()}`,
      order: 'ordered',
      types: 'all',
      handle: async (_, event) => void applied.push(event.sequence),
    };
    await using inbox = new Inbox(fixture.orm, { ownSource: '/other', log });
    const id = uuid();
    const upper = id.toUpperCase();
    // What an earlier version stored, which did not normalise ids.
    await inbox.deliver(consumer, eventOf(before.startsWith('all') ? upper : id, 1));
    await inbox.deliver(consumer, eventOf(upper, before.startsWith('all') ? 3 : 2, { data: { text: 'a\u0000b' } }));
    await fixture.database.sql(LOWER_CASE_IDS);
    inbox.start([consumer]);
    for (const sequence of before.startsWith('all') ? [2, 4] : [3, 4])
      await inbox.deliver(consumer, readEnvelope(message(upper, sequence)));
    await eventually(async () => expect(applied).toEqual([1, 2, 3, 4]));
  },
);
