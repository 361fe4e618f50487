import type { ServerResponse } from 'node:http';
import { memberClient } from '../../../services/family-account/member-client.ts';
import { eventually } from '../../support/eventually.ts';
import { answerJson, DIRECT_INVOKE, standInForDaprd } from './daprd.ts';

const id = '0198d7a2-0000-7000-8000-000000000001';
const READER = 'token-of-the-reader';
const UNAVAILABLE = { name: 'DependencyUnavailable', slug: 'member-api-unavailable', outage: true };
type Answer = (response: ServerResponse) => void;
const json =
  (status: number, body: unknown): Answer =>
  (response) =>
    answerJson(response, status, body);
const refusal = (status: number, slug: string): Answer => json(status, { type: `urn:problem:${slug}`, status, slug });

async function open(answer: Answer, options: { timeoutMs?: number; maxCalls?: number; daprApiToken?: string } = {}) {
  const daprd = await standInForDaprd((_, response) => answer(response));
  const client = memberClient({
    daprPort: daprd.port,
    daprApiToken: 'token-of-the-sidecar',
    appId: 'member',
    readerToken: READER,
    ...options,
  });
  return {
    daprd,
    client,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await daprd[Symbol.asyncDispose]();
    },
  };
}

describe('The newest state of a member', () => {
  test('is asked as a reader, in the trace of whoever asks', async () => {
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
    ['NOT_VERIFIED', refusal(404, 'member-not-found')],
  ])('is %s', async (standing, answer) => {
    await using it = await open(answer);
    expect(await it.client.standingOf(id)).toBe(standing);
  });

  test.each<[string, Answer]>([
    ['our credential is not known', refusal(401, 'unauthenticated')],
    ['our credential is not for this', refusal(403, 'forbidden')],
    ['there is no such route (yet)', refusal(404, 'no-such-route')],
    ['daprd finds nobody under the app-id', json(500, DIRECT_INVOKE)],
    ['daprd cannot tell where to go', json(404, DIRECT_INVOKE)],
    ['daprd may not call it', json(403, DIRECT_INVOKE)],
    ['it is broken', refusal(500, 'member-not-found')],
    ['its database is away', refusal(503, 'database-unavailable')],
    ['it has too much to do', refusal(429, 'too-many-requests')],
    ['it answers another member', json(200, { id: id.replace('1', '2'), status: 'WITHDRAWN' })],
    ['it answers a status that nobody knows', json(200, { id, status: 'ASLEEP' })],
    ['it answers no verification', json(200, { id, status: 'ACTIVE' })],
    ['it answers no JSON', (response) => void response.end('<html>')],
    ['it sends us elsewhere', (response) => void response.writeHead(302, { location: '/elsewhere' }).end()],
    ['the connection breaks', (response) => void response.destroy()],
  ])('cannot be asked when %s', async (_, answer) => {
    await using it = await open(answer);
    await expect(it.client.standingOf(id)).rejects.toMatchObject(UNAVAILABLE);
  });
});

describe('A session', () => {
  test('is asked about with its own token', async () => {
    await using it = await open(json(200, { number: 7, memberId: id, device: { id: 'a', name: 'b', os: 'c' } }));
    expect(await it.client.sessionOf('token-of-anna')).toEqual({ memberId: id, sessionNumber: '7' });
    expect(it.daprd.invocations).toMatchObject([
      { path: '/v1/sessions/current', headers: { authorization: 'Bearer token-of-anna' } },
    ]);
  });

  test.each([
    ['has ended', refusal(401, 'unauthenticated')],
    ['is none: the credential is not a member’s', refusal(403, 'forbidden')],
  ])('%s', async (_, answer) => {
    await using it = await open(answer);
    expect(await it.client.sessionOf('token')).toBeUndefined();
  });

  test('cannot be asked about when daprd does not know us: that says nothing of the session', async () => {
    await using it = await open(refusal(401, 'unauthenticated'), { daprApiToken: 'wrong' });
    await expect(it.client.sessionOf('token')).rejects.toMatchObject(UNAVAILABLE);
    expect(it.daprd.invocations).toEqual([]);
  });
});

describe('A canary', () => {
  const hops = [{ name: 'row', at: null, trouble: 'it was not stored' }];
  test('is asked for and followed as a reader', async () => {
    await using it = await open(json(201, { id }));
    expect(await it.client.sendCanary()).toBe(id);
    await using there = await open(json(200, { hops }));
    expect(await there.client.followCanary(id)).toEqual(hops);
    expect([...it.daprd.invocations, ...there.daprd.invocations]).toMatchObject([
      { method: 'POST', path: '/v1/canaries/member', headers: { authorization: `Bearer ${READER}` } },
      { method: 'GET', path: `/v1/canaries/member/${id}`, headers: { authorization: `Bearer ${READER}` } },
    ]);
  });

  test('that was never sent has no way', async () => {
    await using it = await open(refusal(404, 'canary-not-found'));
    expect(await it.client.followCanary(id)).toBeUndefined();
  });

  test.each([
    ['there is no such route (yet)', refusal(404, 'no-such-route')],
    ['it answers something else', json(200, { id: 7 })],
  ])('cannot be asked about when %s', async (_, answer) => {
    await using it = await open(answer);
    await expect(it.client.sendCanary()).rejects.toMatchObject(UNAVAILABLE);
    await expect(it.client.followCanary(id)).rejects.toMatchObject(UNAVAILABLE);
  });
});

test('a call that was lost on the way is made again: whoever replaces the one that was called answers', async () => {
  const answers: Answer[] = [json(500, DIRECT_INVOKE), () => undefined, json(200, { id, status: 'WITHDRAWN' })];
  await using it = await open((response) => answers.shift()!(response), { timeoutMs: 1_000 });
  expect(await it.client.standingOf(id)).toBe('WITHDRAWN');
  expect(it.daprd.invocations).toHaveLength(3);
});

test('who does not answer in time cannot be asked, and a late answer harms nobody', async () => {
  const late: ServerResponse[] = [];
  await using it = await open((response) => void late.push(response), { timeoutMs: 50 });
  await expect(it.client.standingOf(id)).rejects.toMatchObject({ ...UNAVAILABLE, retryAfterSeconds: 5 });
  for (const response of late) answerJson(response, 500, DIRECT_INVOKE);
});

test('a sidecar that is not there cannot be asked, within the same time, until it is', async () => {
  const answer = json(200, { number: 7, memberId: id });
  // One call at a time: the next one succeeds once the SDK has ended the one before it, which nobody waits for any more.
  const { daprd, client } = await open(answer, { timeoutMs: 50, maxCalls: 1 });
  await daprd[Symbol.asyncDispose]();
  await expect(client.sessionOf('token')).rejects.toMatchObject(UNAVAILABLE);
  await using again = await standInForDaprd((_, response) => answer(response), { port: daprd.port });
  await eventually(async () => expect(await client.sessionOf('token')).toBeDefined());
  expect(again.invocations.length).toBeGreaterThan(0);
  await again[Symbol.asyncDispose]();
  await expect(client.sessionOf('token')).rejects.toMatchObject(UNAVAILABLE);
  await client[Symbol.asyncDispose]();
});

test('calls that nobody waits for any more do not pile up', async () => {
  const hanging: ServerResponse[] = [];
  let hang = true;
  const answer: Answer = (response) => {
    if (hang) hanging.push(response);
    else answerJson(response, 200, { id, status: 'WITHDRAWN' });
  };
  await using it = await open(answer, { timeoutMs: 100, maxCalls: 2 });
  const ask = () => it.client.standingOf(id);
  const outcomes = await Promise.allSettled([ask(), ask(), ask()]);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(it.daprd.invocations).toHaveLength(2);
  hang = false;
  for (const response of hanging) answerJson(response, 500, DIRECT_INVOKE);
  await eventually(async () => expect(await ask()).toBe('WITHDRAWN'));
});

describe('What the member system published last', () => {
  const position = { eventId: id, aggregateId: id, sequence: 7 };

  test('is asked as a reader, and is an event as its subscribers know it', async () => {
    await using it = await open(json(200, position));
    expect(await it.client.publisherOf('member-external').latest()).toEqual({ source: '/member', ...position });
    expect(it.daprd.invocations).toMatchObject([
      { path: '/v1/topics/member-external/latest-event', headers: { authorization: `Bearer ${READER}` } },
    ]);
  });

  test('may be nothing yet', async () => {
    await using it = await open(refusal(404, 'nothing-published'));
    expect(await it.client.publisherOf('member-external').latest()).toBeUndefined();
  });

  test('is not known when the member API is older than the question', async () => {
    await using it = await open(refusal(404, 'no-such-route'));
    await expect(it.client.publisherOf('member-external').latest()).rejects.toMatchObject(UNAVAILABLE);
  });
});

describe('What the member system has published', () => {
  const publisher = (it: Awaited<ReturnType<typeof open>>) => it.client.publisherOf('member-external');

  test('is asked for as a reader, from a position on', async () => {
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

  test('is published again when it is asked for', async () => {
    await using it = await open(json(202, { events: 1 }));
    expect(await publisher(it).republish([id])).toBe(1);
    expect(it.daprd.invocations).toMatchObject([
      // Its name here has to be that of its reader's token: a repeat to another name would reach nobody.
      { path: '/v1/topics/member-external/republish', body: { eventIds: [id], target: 'family-account' } },
    ]);
  });

  test('is not known when positions are none: they would be asked with for ever', async () => {
    for (const next of ['', 'x', `${id}_2`]) {
      await using it = await open(json(200, { events: [], next }));
      await expect(publisher(it).published({ ageMs: 1, limit: 1 })).rejects.toMatchObject(UNAVAILABLE);
    }
  });

  test('is not known when the member API cannot be asked', async () => {
    await using it = await open(refusal(404, 'no-such-route'));
    await expect(publisher(it).published({ ageMs: 1, limit: 1 })).rejects.toMatchObject(UNAVAILABLE);
    await expect(publisher(it).republish([id])).rejects.toMatchObject(UNAVAILABLE);
  });
});
