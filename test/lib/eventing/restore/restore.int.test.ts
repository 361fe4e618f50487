import { v7 as uuid } from 'uuid';
import { type Envelope, readEnvelope } from '#eventing/cloud-event';
import type { StoredEvent } from '../fixture.ts';
import {
  backUp,
  change,
  fixture,
  lampWithTwoLostEvents,
  NO_CHANGES,
  pendingMessages,
  pendingTypesOf,
  restoreFrom,
  topic,
} from './fixture.ts';

test('lost events are stored again unchanged and published again in sequence', async () => {
  const { lamp, events, messages } = await lampWithTwoLostEvents();
  await fixture.database.sql('delete from eventing.outbox');
  expect(await restoreFrom(messages)).toEqual({ imported: 2, notReplayed: 0, conflicts: 0, gaps: 0, aggregates: 1 });
  const originalFields = ({
    id,
    sequence,
    event_type,
    attributes,
    reason,
    traceparent,
    created_at,
  }: StoredEvent & Record<string, unknown>) => ({
    id,
    sequence,
    event_type,
    attributes,
    reason,
    traceparent,
    created_at,
  });
  const [first, second, third, ...more] = await fixture.storedEvents(lamp);
  expect([first, second, third].map((it) => originalFields(it as never))).toEqual(
    events.map((it) => originalFields(it as never)),
  );
  expect(more.map(({ event_type }) => event_type)).toEqual(['lamp.restored']);
  // A message carries neither the channel nor the requester.
  const origin = ({ event_channel, requested_by }: StoredEvent) => [event_channel, requested_by];
  expect([first!, second!, more[0]!].map(origin)).toEqual([
    ['lamp', 'system'],
    ['unknown', 'unknown'],
    ['restore', 'restore'],
  ]);
  const again = await pendingMessages();
  expect(again.map(({ eventId, sequence, target }) => [eventId, sequence, target])).toEqual([
    [events[1]!.id, 2, 'ALL'],
    [events[2]!.id, 3, 'ALL'],
    [more[0]!.id, 4, 'ALL'],
  ]);
  expect(again[1]!.data).toEqual(readEnvelope(messages.at(-1)).data);
  expect(messages.map(({ id }) => id)).not.toContain(again[0]!.messageId);
});

test('later events continue after all restored sequences', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  await restoreFrom(messages);
  await change(lamp, (it) => it.inspect());
  expect(await fixture.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.switched-on',
    '3 lamp.inspected',
    '4 lamp.restored',
    '5 lamp.inspected',
  ]);
  expect((await pendingTypesOf(lamp)).slice(-4)).toEqual([
    '2 lamp.switched-on',
    '3 lamp.inspected',
    '4 lamp.restored',
    '5 lamp.inspected',
  ]);
});

test('an aggregate without lost events gets no restored event', async () => {
  const other = await fixture.install();
  const { messages } = await lampWithTwoLostEvents();
  await restoreFrom(messages);
  expect(await fixture.typesOf(other)).toEqual(['1 lamp.installed']);
});

test('a repeated restore changes nothing', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  await restoreFrom(messages);
  const [stored, pending] = [await fixture.typesOf(lamp), await pendingTypesOf(lamp)];
  expect(await restoreFrom(messages)).toEqual(NO_CHANGES);
  expect(await restoreFrom(await topic())).toEqual(NO_CHANGES);
  expect([await fixture.typesOf(lamp), await pendingTypesOf(lamp)]).toEqual([stored, pending]);
});

test('an aborted restore changes nothing, and a later one completes despite new events', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  const breaks = restoreFrom(messages, { finish: () => Promise.reject(new Error('killed')) });
  await expect(breaks).rejects.toThrow('killed');
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed']);
  expect(await pendingTypesOf(lamp)).toEqual(['1 lamp.installed']);
  await change(lamp, (it) => it.inspect());
  expect(await restoreFrom(messages)).toMatchObject({ imported: 1, conflicts: 1, aggregates: 1 });
  expect(await fixture.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.inspected',
    '3 lamp.inspected',
    '4 lamp.restored',
  ]);
});

test('a second restore, to before the first, imports the first one’s events too', async () => {
  const lamp = await fixture.install();
  const restoreDatabase = await backUp();
  await change(lamp, (it) => it.switchOn());
  const once = await topic();
  await restoreDatabase();
  await backUp();
  await restoreFrom(once);
  const twice = [...once, ...(await topic()).slice(1)];
  await fixture.database.sql(`delete from eventing.event_store where sequence > 1`);
  await fixture.database.sql('update eventing.stream set last_sequence = 1');
  await fixture.database.sql('delete from eventing.outbox');
  expect(await restoreFrom(twice)).toMatchObject({ imported: 2, conflicts: 0, gaps: 0 });
  expect(await pendingTypesOf(lamp)).toEqual(['2 lamp.switched-on', '3 lamp.restored', '4 lamp.restored']);
});

test('a sequence missing in database and topic is filled when the gap is accepted', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  const [installed, , inspected] = messages;
  await expect(restoreFrom([installed, inspected])).rejects.toThrow(`The topic lacks published events of ${lamp.id}`);
  expect(await fixture.typesOf(lamp)).toEqual(['1 lamp.installed']);
  expect(await restoreFrom([installed, inspected], { acceptGap: true })).toMatchObject({
    imported: 1,
    conflicts: 0,
    gaps: 1,
    aggregates: 1,
  });
  expect(await fixture.typesOf(lamp)).toEqual([
    '1 lamp.installed',
    '2 lamp.restored',
    '3 lamp.inspected',
    '4 lamp.restored',
  ]);
  expect((await pendingTypesOf(lamp)).slice(1)).toEqual(['2 lamp.restored', '3 lamp.inspected', '4 lamp.restored']);
});

test('an impossibly high sequence is skipped, and the gap before it is not filled', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  const strange = { ...messages.at(-1)!, id: uuid(), eventid: uuid(), sequence: '0900000000' };
  expect(await restoreFrom([...messages, strange])).toMatchObject({ imported: 2, conflicts: 0, gaps: 0 });
  expect((await fixture.typesOf(lamp)).at(-1)).toBe('4 lamp.restored');
});

test('messages that are not events of this system are skipped', async () => {
  const { lamp, messages } = await lampWithTwoLostEvents();
  const [installed, on, inspected] = messages as [Envelope, Envelope, Envelope];
  const invalid = [
    'no JSON',
    '{}',
    { ...on, id: uuid(), eventid: uuid(), source: '/elsewhere' },
    { ...on, id: uuid(), eventid: uuid(), data: { attributes: { lit: 1 } } },
    { ...on, id: uuid(), eventid: uuid(), data: 'text' },
    { ...on, id: uuid(), eventid: uuid(), sequence: '4', data: { attributes: { lit: 'a\u0000b' } } },
    { ...on, id: uuid(), eventid: uuid(), sequence: '4', data: { attributes: { 'l\ud800': 'ab' } } },
    { ...on, id: uuid(), eventid: uuid(), sequence: '4', time: '0000-01-01T00:00:00Z' },
  ];
  expect(await restoreFrom([...invalid, installed, ...invalid, on, inspected])).toMatchObject({
    imported: 2,
    conflicts: 0,
    gaps: 0,
  });
  expect(await fixture.typesOf(lamp)).toHaveLength(4);
});

test('an event that was published more than once is imported once', async () => {
  const { messages } = await lampWithTwoLostEvents();
  // A republished message may spell its ids differently.
  const repeats = messages.map((it) => ({
    ...it,
    id: uuid(),
    eventid: it.eventid.toUpperCase(),
    subject: it.subject.toUpperCase(),
  }));
  expect(await restoreFrom([...messages, ...repeats])).toMatchObject({ imported: 2, conflicts: 0 });
});

test('the first published of two events with one sequence is imported', async () => {
  const { lamp, events, messages } = await lampWithTwoLostEvents();
  const second = { ...messages[2]!, id: uuid(), eventid: uuid() };
  expect(await restoreFrom([...messages, second])).toMatchObject({ imported: 2, conflicts: 1, gaps: 0, aggregates: 1 });
  expect((await fixture.storedEvents(lamp))[2]!.id).toBe(events[2]!.id);
});

test('events deleted by retention are not imported again', async () => {
  const lamp = await fixture.install();
  await change(lamp, (it) => it.inspect());
  const messages = await topic();
  await fixture.database.sql('delete from eventing.event_store where sequence = 1');
  expect(await restoreFrom(messages, { acceptGap: true })).toEqual(NO_CHANGES);
  expect(await fixture.typesOf(lamp)).toEqual(['2 lamp.inspected']);
});
