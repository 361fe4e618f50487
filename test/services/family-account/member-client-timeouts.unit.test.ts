import type { ServerResponse } from 'node:http';
import { memberClient } from '../../../services/family-account/member-client.ts';
import { eventually } from '../../support/eventually.ts';
import { answerJson, DIRECT_INVOKE, startFakeDaprd } from './daprd.ts';
import { type Answer, id, json, LIVE, open, READER, UNAVAILABLE } from './member-client.ts';

test('a failed or unanswered call is retried until another replica answers', async () => {
  const answers: Answer[] = [json(500, DIRECT_INVOKE), () => undefined, json(200, { id, status: 'WITHDRAWN' })];
  await using it = await open((response) => answers.shift()!(response), { timeoutMs: 10_000 });
  expect(await it.client.standingOf(id)).toBe('WITHDRAWN');
  expect(it.daprd.invocations).toHaveLength(3);
});

test('a member API that times out is unavailable, and its late answer has no effect', async () => {
  const late: ServerResponse[] = [];
  await using it = await open((response) => void late.push(response), { timeoutMs: 50 });
  await expect(it.client.standingOf(id)).rejects.toMatchObject({ ...UNAVAILABLE, retryAfterSeconds: 5 });
  for (const response of late) answerJson(response, 500, DIRECT_INVOKE);
});

test('a missing sidecar causes unavailability within the timeout, until it is back', async () => {
  const answer = json(200, { number: 7, memberId: id });
  // One call at a time: the next one succeeds once the SDK has ended the abandoned one before it.
  const { daprd, client } = await open(answer, { timeoutMs: 1_000, maxCalls: 1 });
  await daprd[Symbol.asyncDispose]();
  await expect(client.sessionOf('token', LIVE)).rejects.toMatchObject(UNAVAILABLE);
  await using again = await startFakeDaprd((_, response) => answer(response), { port: daprd.port });
  await eventually(async () => expect(await client.sessionOf('token', LIVE)).toBeDefined());
  expect(again.invocations.length).toBeGreaterThan(0);
  await again[Symbol.asyncDispose]();
  await expect(client.sessionOf('token', LIVE)).rejects.toMatchObject(UNAVAILABLE);
  await client[Symbol.asyncDispose]();
});

test('abandoned calls do not accumulate', async () => {
  const hanging: ServerResponse[] = [];
  let hang = true;
  const answer: Answer = (response) => {
    if (hang) hanging.push(response);
    else answerJson(response, 200, { id, status: 'WITHDRAWN' });
  };
  await using it = await open(answer, { timeoutMs: 1_000, maxCalls: 2 });
  const standing = () => it.client.standingOf(id);
  const outcomes = await Promise.allSettled([standing(), standing(), standing()]);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(it.daprd.invocations).toHaveLength(2);
  hang = false;
  for (const response of hanging) answerJson(response, 500, DIRECT_INVOKE);
  await eventually(async () => expect(await standing()).toBe('WITHDRAWN'));
});

test('hanging lookups of unknown tokens do not block other calls', async () => {
  await using daprd = await startFakeDaprd(({ path, headers }, response) => {
    if (headers.authorization === 'Bearer made-up') return;
    answerJson(
      response,
      200,
      path.startsWith('/v1/sessions') ? { number: 7, memberId: id } : { id, status: 'WITHDRAWN' },
    );
  });
  const options = { daprPort: daprd.port, daprApiToken: 'token-of-the-sidecar', appId: 'member', readerToken: READER };
  await using client = memberClient({ ...options, timeoutMs: 5_000, maxCalls: 2, maxUnknownCalls: 3 });
  // Twice: abandoned calls of the first round are still in progress in the second.
  for (let round = 0; round < 2; round++) {
    const made = Array.from({ length: 20 }, () => client.sessionOf('made-up', { wasLive: false }));
    const outcomes = Promise.allSettled(made);
    expect(await client.sessionOf('live', LIVE)).toBeDefined();
    expect(await client.standingOf(id)).toBe('WITHDRAWN');
    expect((await outcomes).map(({ status }) => status)).toEqual(made.map(() => 'rejected'));
    const calls = daprd.invocations.filter(({ headers }) => headers.authorization === 'Bearer made-up');
    expect(calls).toHaveLength(3);
  }
});
