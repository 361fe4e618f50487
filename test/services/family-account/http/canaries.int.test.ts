import { v7 as uuid } from 'uuid';
import { CANARY_ID } from '#eventing/canary';
import { DependencyUnavailable } from '#process/errors';
import { type FamilyAccountApi, OPERATOR, problem, SIDECAR, startFamilyAccountApi } from './api.ts';

let api: FamilyAccountApi;
let call: FamilyAccountApi['call'];
beforeAll(async () => {
  api = await startFamilyAccountApi();
  call = api.call;
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.system.member.beforeAnswer = () => undefined;
});

describe('A canary', () => {
  const follow = (system: string, id: string) => call('GET', `/v1/canaries/${system}/${id}`, { token: OPERATOR });
  const send = (system: string) => call('POST', `/v1/canaries/${system}`, { token: OPERATOR });

  test('starts with an outbox row and waits for the relay', async () => {
    const { status, body } = await send('family-account');
    expect(status).toBe(201);
    const { body: trace } = await follow('family-account', body.id);
    expect(trace.hops.map(({ name }: { name: string }) => name)).toEqual([
      'row',
      'relay to family-account-internal',
      'topic family-account-internal',
      'recorder of family-account-internal',
      'external-broadcaster',
      'relay to family-account-external',
      'recorder of family-account-external',
    ]);
    expect(trace.hops[0]).toMatchObject({ at: expect.any(String), problem: null });
    expect(trace.hops[1]).toMatchObject({ at: null, problem: expect.any(String) });
    // These hops have not failed: they only wait for the one before them.
    for (const hop of trace.hops.slice(2)) expect(hop).toMatchObject({ at: null, problem: null });
  });

  test('completes at this service when the member system has sent it', async () => {
    const { body } = await send('member');
    const last = async () => (await follow('member', body.id)).body.hops.at(-1);
    expect(await last()).toMatchObject({
      name: 'family-account',
      at: null,
      problem: expect.stringMatching(/has not received the canary/),
    });
    const event = {
      ...{ specversion: '1.0', id: uuid(), eventid: body.id, source: '/member', type: 'member.canary-sent' },
      ...{ subject: CANARY_ID, time: new Date().toISOString(), sequence: '0000000001', target: 'ALL' },
      ...{ datacontenttype: 'application/json', partitionkey: CANARY_ID },
      data: {
        memberId: CANARY_ID,
        eventType: 'member.canary-sent',
        attributeTypes: [],
        occurredAt: new Date().toISOString(),
      },
    };
    const delivered = await call('POST', '/events/member-external', { sidecar: SIDECAR, body: event });
    expect(delivered.status).toBe(200);
    expect(await last()).toMatchObject({ name: 'family-account', at: expect.any(String), problem: null });
  });

  test('cannot be sent while the member system is unreachable', async () => {
    api.system.member.beforeAnswer = () => {
      throw new DependencyUnavailable('member-api-unavailable', 'unreachable');
    };
    expect(await send('member')).toMatchObject(problem('member-api-unavailable', 503));
  });

  test('answers 404 when it was never sent, and 400 for an unknown system', async () => {
    for (const system of ['family-account', 'member'])
      expect(await follow(system, uuid())).toMatchObject(problem('canary-not-found', 404));
    expect(await send('unknown')).toMatchObject(problem('invalid-request', 400));
  });
});
