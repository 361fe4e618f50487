import { DIRECT_INVOKE } from './daprd.ts';
import { type Answer, id, json, LIVE, open, problemAnswer, READER, UNAVAILABLE } from './member-client.ts';

describe('The current state of a member', () => {
  test('is requested as a reader, in the caller’s trace', async () => {
    await using it = await open(json(200, { id, status: 'ACTIVE', identityVerification: { status: 'VERIFIED' } }));
    expect(await it.client.standingOf(id)).toBe('VERIFIED');
    expect(it.daprd.invocations).toMatchObject([
      {
        path: `/v1/members/${id}`,
        headers: { authorization: `Bearer ${READER}`, traceparent: expect.stringMatching(/^00-/) },
      },
    ]);
  });

  test.each([
    ['NOT_VERIFIED', json(200, { id, status: 'ACTIVE', identityVerification: { status: 'NONE' } })],
    ['WITHDRAWN', json(200, { id, status: 'WITHDRAWN' })],
    ['NOT_VERIFIED', problemAnswer(404, 'member-not-found')],
  ])('is %s', async (standing, answer) => {
    await using it = await open(answer);
    expect(await it.client.standingOf(id)).toBe(standing);
  });

  test.each<[string, Answer]>([
    ['our credential is unknown', problemAnswer(401, 'unauthenticated')],
    ['our credential is not sufficient', problemAnswer(403, 'forbidden')],
    ['its API has no such route', problemAnswer(404, 'no-such-route')],
    ['daprd finds no app with the app-id', json(500, DIRECT_INVOKE)],
    ['daprd cannot resolve the app-id', json(404, DIRECT_INVOKE)],
    ['daprd is not allowed to call it', json(403, DIRECT_INVOKE)],
    ['it answers 500', problemAnswer(500, 'member-not-found')],
    ['its database is unavailable', problemAnswer(503, 'database-unavailable')],
    ['it is overloaded', problemAnswer(429, 'too-many-requests')],
    ['it answers for another member', json(200, { id: id.replace('1', '2'), status: 'WITHDRAWN' })],
    ['it answers with an unknown status', json(200, { id, status: 'ASLEEP' })],
    ['it answers without a verification', json(200, { id, status: 'ACTIVE' })],
    ['it answers with invalid JSON', (response) => void response.end('<html>')],
    ['it redirects', (response) => void response.writeHead(302, { location: '/elsewhere' }).end()],
    ['the connection breaks', (response) => void response.destroy()],
  ])('is unavailable when %s', async (_, answer) => {
    await using it = await open(answer);
    await expect(it.client.standingOf(id)).rejects.toMatchObject(UNAVAILABLE);
  });
});

describe('A session', () => {
  test('is requested with its own token', async () => {
    await using it = await open(json(200, { number: 7, memberId: id, device: { id: 'a', name: 'b', os: 'c' } }));
    expect(await it.client.sessionOf('token-of-anna', LIVE)).toEqual({ memberId: id, sessionNumber: '7' });
    expect(it.daprd.invocations).toMatchObject([
      { path: '/v1/sessions/current', headers: { authorization: 'Bearer token-of-anna' } },
    ]);
  });

  test.each([
    ['has ended', problemAnswer(401, 'unauthenticated')],
    ['belongs to a credential that is not a member’s', problemAnswer(403, 'forbidden')],
  ])('is undefined when it %s', async (_, answer) => {
    await using it = await open(answer);
    expect(await it.client.sessionOf('token', LIVE)).toBeUndefined();
  });

  test('is unavailable, not ended, when daprd rejects our API token', async () => {
    await using it = await open(problemAnswer(401, 'unauthenticated'), { daprApiToken: 'wrong' });
    await expect(it.client.sessionOf('token', LIVE)).rejects.toMatchObject(UNAVAILABLE);
    expect(it.daprd.invocations).toEqual([]);
  });
});

describe('A canary', () => {
  const hops = [{ name: 'row', at: null, problem: 'it was not stored' }];
  test('is sent and followed as a reader', async () => {
    await using it = await open(json(201, { id }));
    expect(await it.client.sendCanary()).toBe(id);
    await using there = await open(json(200, { hops }));
    expect(await there.client.followCanary(id)).toEqual(hops);
    expect([...it.daprd.invocations, ...there.daprd.invocations]).toMatchObject([
      { method: 'POST', path: '/v1/canaries/member', headers: { authorization: `Bearer ${READER}` } },
      { method: 'GET', path: `/v1/canaries/member/${id}`, headers: { authorization: `Bearer ${READER}` } },
    ]);
  });

  test('has no trace when it was never sent', async () => {
    await using it = await open(problemAnswer(404, 'canary-not-found'));
    expect(await it.client.followCanary(id)).toBeUndefined();
  });

  test.each([
    ['its API has no such route', problemAnswer(404, 'no-such-route')],
    ['it answers with another schema', json(200, { id: 7 })],
  ])('is unavailable when %s', async (_, answer) => {
    await using it = await open(answer);
    await expect(it.client.sendCanary()).rejects.toMatchObject(UNAVAILABLE);
    await expect(it.client.followCanary(id)).rejects.toMatchObject(UNAVAILABLE);
  });
});

describe('The latest published event of the member system', () => {
  const position = { eventId: id, aggregateId: id, sequence: 7 };

  test('is requested as a reader and returned with its source', async () => {
    await using it = await open(json(200, position));
    expect(await it.client.publisherOf('member-external').latest()).toEqual({ source: '/member', ...position });
    expect(it.daprd.invocations).toMatchObject([
      { path: '/v1/topics/member-external/latest-event', headers: { authorization: `Bearer ${READER}` } },
    ]);
  });

  test('is undefined while nothing has been published', async () => {
    await using it = await open(problemAnswer(404, 'nothing-published'));
    expect(await it.client.publisherOf('member-external').latest()).toBeUndefined();
  });

  test('is unavailable when the member API is older than this route', async () => {
    await using it = await open(problemAnswer(404, 'no-such-route'));
    await expect(it.client.publisherOf('member-external').latest()).rejects.toMatchObject(UNAVAILABLE);
  });
});

describe('The published events of the member system', () => {
  const publisher = (it: Awaited<ReturnType<typeof open>>) => it.client.publisherOf('member-external');

  test('are requested as a reader, from a position on', async () => {
    const page = {
      events: [{ eventId: id, type: 'member.registered', aggregateId: id, sequence: 1, position: `2_${id}` }],
      next: `2_${id}`,
    };
    await using it = await open(json(200, page));
    expect(await publisher(it).published({ after: `1_${id}`, before: undefined, ageMs: 60_000, limit: 500 })).toEqual(
      page,
    );
    expect(it.daprd.invocations).toMatchObject([
      {
        path: `/v1/topics/member-external/published-events?after=1_${id}&ageMs=60000&limit=500`,
        headers: { authorization: `Bearer ${READER}` },
      },
    ]);
  });

  test('are republished on request, to this service only', async () => {
    await using it = await open(json(202, { events: 1 }));
    expect(await publisher(it).republish([id])).toBe(1);
    expect(it.daprd.invocations).toMatchObject([
      // The target has to be this service's reader name: with another name, no subscriber would take the repeat.
      { path: '/v1/topics/member-external/republish', body: { eventIds: [id], target: 'family-account' } },
    ]);
  });

  test('are unavailable when a position is malformed, which would loop indefinitely', async () => {
    for (const next of ['', 'x', `${id}_2`]) {
      await using it = await open(json(200, { events: [], next }));
      await expect(publisher(it).published({ ageMs: 1, limit: 1 })).rejects.toMatchObject(UNAVAILABLE);
    }
  });

  test('are unavailable when the member API cannot be reached', async () => {
    await using it = await open(problemAnswer(404, 'no-such-route'));
    await expect(publisher(it).published({ ageMs: 1, limit: 1 })).rejects.toMatchObject(UNAVAILABLE);
    await expect(publisher(it).republish([id])).rejects.toMatchObject(UNAVAILABLE);
  });
});
