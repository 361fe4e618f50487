import { v7 as uuid } from 'uuid';
import { healthyCluster, runDoctor } from './fake-cluster.ts';

// What the doctor says about events that have not arrived. Like all tests of the doctor, it renders the charts with Helm.

test('gaps are one finding per consumer, which names the oldest', async () => {
  const cluster = healthyCluster();
  const gap = (consumer: string, from: number, to: number, since: string) => {
    return { consumer, source: '/member', aggregateId: 'anna', from, to, next: to + 1, since };
  };
  cluster.gaps = {
    gaps: [gap('membership', 4, 5, 'Monday'), gap('device', 2, 2, 'Tuesday'), gap('membership', 7, 7, 'Wednesday')],
  };
  const fix = 'Have the missing events published again: docs/doctor.md#gap-in-a-stream';
  expect((await runDoctor(cluster)).findings).toEqual([
    {
      where: 'Consumer membership',
      what: 'has 2 gaps, the oldest since Monday: events 4 to 5 of /member anna',
      remedy: fix,
    },
    { where: 'Consumer device', what: 'has 1 gap, the oldest since Tuesday: event 2 of /member anna', remedy: fix },
  ]);
});

test('events that never arrived are one finding per app and topic, which names the oldest', async () => {
  const cluster = healthyCluster();
  const event = (appId: string, eventId = uuid()) => {
    const subject = { type: 'member.withdrawn', aggregateId: 'anna', sequence: 3, since: 'Monday' };
    return { appId, topic: 'member-external', eventId, ...subject };
  };
  const oldest = event('family-account');
  const many = Array.from({ length: 198 }, () => event('family-account'));
  cluster.missingEvents = { events: [oldest, ...many, event('device-worker')] };
  const { findings } = await runDoctor(cluster);
  expect(findings).toMatchObject([
    {
      where: 'App family-account',
      what: `never received at least 199 events of member-external; requests for the oldest ended Monday: member.withdrawn ${oldest.eventId}`,
      remedy: expect.stringMatching(/ published again: docs\/doctor.md#event-never-received$/),
    },
    { where: 'App device-worker', what: expect.stringMatching(/^never received at least 1 event of /) },
  ]);
});

test('an API of the previous release, without these lists, is no finding', async () => {
  const cluster = healthyCluster();
  cluster.gaps = cluster.missingEvents = { status: 404, slug: 'no-such-route' };
  expect(await runDoctor(cluster)).toEqual({ findings: [], unseen: [] });
});

test('a list that fails or is malformed is reported as not checked', async () => {
  const cluster = healthyCluster();
  cluster.gaps = { status: 503, slug: 'try-again' };
  cluster.missingEvents = { items: [] };
  expect(await runDoctor(cluster)).toEqual({
    findings: [],
    unseen: [
      expect.stringMatching(/^Not checked: gaps in the streams of ordered consumers\. .* answered 503: .*try-again/),
      'Not checked: events that never arrived. GET /v1/missing-events?limit=200 returned an unexpected body',
    ],
  });
});
