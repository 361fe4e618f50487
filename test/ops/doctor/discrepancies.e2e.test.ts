import { v7 as uuid } from 'uuid';
import { healthyCluster, runDoctor } from './fake-cluster.ts';

// Compares the event store with the external topic. Like all tests of the doctor, it renders the charts with Helm.

const event = (committedAt: string) => {
  return { eventId: uuid(), type: 'member.withdrawn', aggregateId: uuid(), sequence: 3, committedAt };
};

test('stored events without an external message are one finding over all pages', async () => {
  const cluster = healthyCluster();
  const oldest = event('2026-11-29T10:00:00.000Z');
  cluster.discrepancies = [
    { unpublished: [oldest], notStored: [], next: 'page-1' },
    { unpublished: [event('2026-11-29T11:00:00.000Z')], notStored: [], next: null },
  ];
  expect((await runDoctor(cluster)).findings).toEqual([
    {
      where: 'External topic',
      what: `is missing 2 stored events, the oldest from 2026-11-29T10:00:00.000Z: member.withdrawn ${oldest.eventId}`,
      remedy: 'Trace the oldest one: docs/doctor.md#event-never-published',
    },
  ]);
});

test('messages of events that were never stored are one finding', async () => {
  const cluster = healthyCluster();
  const eventId = uuid();
  const forged = { consumer: 'publish-recorder', eventId, topic: 'member-external', eventType: 'member.withdrawn' };
  cluster.discrepancies = [{ unpublished: [], notStored: [{ ...forged, receivedAt: 'today' }], next: null }];
  expect((await runDoctor(cluster)).findings).toEqual([
    {
      where: 'Topic member-external',
      what: 'has 1 message of events that were never stored, the latest received at today: forged, or the database was restored',
      remedy: `Find out which, then redrive or discard ${eventId} at publish-recorder: docs/doctor.md#event-never-stored`,
    },
  ]);
});

test('an API of the previous release, without this comparison, is no finding', async () => {
  const cluster = healthyCluster();
  cluster.discrepancies = [{ status: 404, slug: 'no-such-route' }];
  expect(await runDoctor(cluster)).toEqual({ findings: [], unseen: [] });
});

test.each<[string, object]>([
  ['fails', { status: 503, slug: 'try-again' }],
  ['is malformed', { items: [] }],
])('a page that %s keeps the earlier findings and is reported', async (_, second) => {
  const cluster = healthyCluster();
  cluster.discrepancies = [{ unpublished: [event('today')], notStored: [], next: 'page-1' }, second];
  const { findings, unseen } = await runDoctor(cluster);
  expect(findings).toMatchObject([{ where: 'External topic' }]);
  expect(unseen).toEqual([expect.stringMatching(/^Some events were not compared with the external topic: /)]);
});
