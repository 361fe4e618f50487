import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { type Consumer, Inbox } from '#eventing/inbox';
import { join } from '#eventing/join';
import { findHeads, type Head } from '#eventing/journal';
import { eventOf, type Lab, Lamp, openLab } from './lab.ts';

let lab: Lab;
const log = { warn: () => undefined, error: () => undefined };
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab[Symbol.asyncDispose]());

async function lampWith(inspections: number): Promise<Lamp> {
  const em = lab.orm.em.fork();
  const lamp = Lamp.install('hall');
  for (let n = 0; n < inspections; n++) lamp.inspect();
  em.persist(lamp);
  await em.flush();
  return lamp;
}

async function* allHeads(): AsyncGenerator<Head[]> {
  let after: string | undefined;
  do {
    const page = await findHeads(lab.orm.em.fork(), { after, limit: 2 });
    if (page.length > 0) yield page;
    after = page.at(-1)?.aggregateId;
  } while (after);
}

function newcomer(): { consumer: Consumer; applied: number[] } {
  const applied: number[] = [];
  const handle = async (_: unknown, { sequence }: ReceivedEvent) => void applied.push(sequence);
  return { consumer: { name: `newcomer-${uuid()}`, order: 'ordered', types: 'all', handle }, applied };
}

test('an ordered consumer that joins with the publisher’s heads neither waits for what was before nor misses what comes', async () => {
  const lamps = [await lampWith(2), await lampWith(0), await lampWith(5)];
  const { consumer, applied } = newcomer();
  await join(lab.orm, consumer, { source: '/lamp', heads: allHeads() });
  await using inbox = new Inbox(lab.orm, { log });
  await inbox.deliver(consumer, eventOf(lamps[0]!.id, 3));
  await inbox.deliver(consumer, eventOf(lamps[0]!.id, 4));
  await inbox.deliver(consumer, eventOf(lamps[2]!.id, 7));
  await inbox.deliver(consumer, eventOf(uuid(), 1));
  expect(applied).toEqual([4, 7, 1]);
});

test('joining again changes nothing, wherever it would start', async () => {
  const lamp = await lampWith(0);
  const { consumer, applied } = newcomer();
  await join(lab.orm, consumer, 'beginning');
  await join(lab.orm, consumer, { source: '/lamp', heads: allHeads() });
  await using inbox = new Inbox(lab.orm, { log });
  await inbox.deliver(consumer, eventOf(lamp.id, 1));
  expect(applied).toEqual([1]);
});

test('a start that fails half-way leaves nothing behind', async () => {
  await lampWith(0);
  const { consumer } = newcomer();
  async function* broken(): AsyncGenerator<Head[]> {
    yield [{ aggregateId: uuid(), sequence: 3 }];
    throw new Error('the publisher is away');
  }
  await expect(join(lab.orm, consumer, { source: '/lamp', heads: broken() })).rejects.toThrow('away');
  const rows = await lab.database.sql(
    'select 1 from eventing.consumer where name = $1 union all select 1 from eventing.cursor where consumer = $1',
    [consumer.name],
  );
  expect(rows).toEqual([]);
});
