import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { findHeads, type Head } from '#eventing/event-trace';
import { Inbox } from '#eventing/inbox';
import { registerConsumer } from '#eventing/start-position';
import { eventOf, type Fixture, Lamp, openFixture } from '../fixture.ts';

let fixture: Fixture;
const log = { warn: () => undefined, error: () => undefined };
beforeAll(async () => {
  fixture = await openFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

async function lampWith(inspections: number): Promise<Lamp> {
  const em = fixture.orm.em.fork();
  const lamp = Lamp.install('hall');
  for (let n = 0; n < inspections; n++) lamp.inspect();
  em.persist(lamp);
  await em.flush();
  return lamp;
}

async function* allHeads(): AsyncGenerator<Head[]> {
  let after: string | undefined;
  do {
    const page = await findHeads(fixture.orm.em.fork(), { after, limit: 2 });
    if (page.length > 0) yield page;
    after = page.at(-1)?.aggregateId;
  } while (after);
}

function newConsumer(): { consumer: Consumer; applied: number[] } {
  const applied: number[] = [];
  const handle = async (_: unknown, { sequence }: ReceivedEvent) => void applied.push(sequence);
  return { consumer: { name: `new-${uuid()}`, order: 'ordered', types: 'all', handle }, applied };
}

test('an ordered consumer registered at the publisher’s heads applies only later events', async () => {
  const lamps = [await lampWith(2), await lampWith(0), await lampWith(5)];
  const { consumer, applied } = newConsumer();
  await registerConsumer(fixture.orm, consumer, { source: '/lamp', heads: allHeads() });
  await using inbox = new Inbox(fixture.orm, { ownSource: '/other', log });
  await inbox.deliver(consumer, eventOf(lamps[0]!.id, 3));
  await inbox.deliver(consumer, eventOf(lamps[0]!.id, 4));
  await inbox.deliver(consumer, eventOf(lamps[2]!.id, 7));
  await inbox.deliver(consumer, eventOf(uuid(), 1));
  expect(applied).toEqual([4, 7, 1]);
});

test('registering a consumer again changes nothing, whatever its start position', async () => {
  const lamp = await lampWith(0);
  const { consumer, applied } = newConsumer();
  await registerConsumer(fixture.orm, consumer, 'beginning');
  await registerConsumer(fixture.orm, consumer, { source: '/lamp', heads: allHeads() });
  await using inbox = new Inbox(fixture.orm, { ownSource: '/other', log });
  await inbox.deliver(consumer, eventOf(lamp.id, 1));
  expect(applied).toEqual([1]);
});

test('a registration that fails half-way leaves neither consumer nor cursors', async () => {
  await lampWith(0);
  const { consumer } = newConsumer();
  async function* broken(): AsyncGenerator<Head[]> {
    yield [{ aggregateId: uuid(), sequence: 3 }];
    throw new Error('the publisher is unreachable');
  }
  await expect(registerConsumer(fixture.orm, consumer, { source: '/lamp', heads: broken() })).rejects.toThrow(
    'unreachable',
  );
  const rows = await fixture.database.sql(
    'select 1 from eventing.consumer where name = $1 union all select 1 from eventing.cursor where consumer = $1',
    [consumer.name],
  );
  expect(rows).toEqual([]);
});
