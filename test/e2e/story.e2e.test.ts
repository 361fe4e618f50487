import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { Api } from '../../local/demo/api.ts';
import { type DemoTarget, playStory } from '../../local/story.ts';
import { eventually } from '../support/eventually.ts';
import { logOf, startStackWith, type TestStack } from '../support/stack.ts';
import { acceptRepeats } from './broker.ts';
import { deliveryTotals, expectInvariants } from './invariants.ts';

let stack: TestStack;
let target: DemoTarget;
beforeAll(async () => {
  stack = await startStackWith({ env: { RESEND_AFTER_SECONDS: '10' } });
  target = await stack.running();
  // A recorder that is killed may have acknowledged messages that it has not confirmed.
  for (const topic of ['member-internal', 'member-external'])
    await acceptRepeats((await stack.running()).brokerUrl, topic);
});
afterAll(() => stack?.[Symbol.asyncDispose]());

const silent = () => undefined;

test('the story completes: each event passes every hop, and each effect happens once', async () => {
  const traces = await playStory(target, silent);
  const types = new Set(traces.map(({ type }) => type));
  expect([...types]).toEqual(
    expect.arrayContaining([
      'member.registered',
      'member.identity-verified',
      'member.logged-in',
      'member.logged-out',
      'member.identity-verification-released',
      'family-account.opened',
      'family-account.member-joined',
      'family-account.member-withdrawn',
    ]),
  );
  for (const { type, messages, handledBy } of traces) {
    const broadcaster = type.startsWith('member.') ? 'external-broadcaster' : expect.any(String);
    expect(messages.map(({ channel }) => channel).sort()).toEqual(['external', 'internal']);
    for (const { sentAt, publishedAt } of messages) expect([sentAt ?? publishedAt, publishedAt]).not.toContain(null);
    expect(handledBy.map(({ consumer }) => consumer)).toContainEqual(broadcaster);
    if (type === 'member.logged-in') {
      expect(handledBy.map(({ consumer }) => consumer).sort()).toEqual([
        'device-login-recorder',
        'external-broadcaster',
        'other-device-logout',
        'other-member-logout',
      ]);
    }
  }
  const released = traces.find(({ type }) => type === 'member.identity-verification-released');
  expect(released?.elsewhere).toMatchObject([{ system: 'family-account' }]);
  await expectInvariants(await stack.running());
  // The broker user of each sidecar has all the permissions that it needs.
  expect(await logOf(stack, 'broker')).not.toContain('Violation');
});

describe.each([
  'member-relay',
  'family-account-relay',
  'other-device-logout',
  'external-broadcaster',
  'publish-recorder',
  'member-daprd',
  'external-broadcaster-daprd',
  'family-account',
  'broker',
])('kill -9 of %s in the middle of the story', (victim) => {
  test('does not change the outcome', async () => {
    const before = (await stack.running()).processes[victim];
    expect(before).toBeDefined();
    let killed: Promise<{ code: number; output: string }> | undefined;
    const lines: string[] = [];
    const story = playWithRetry(target, (line) => {
      lines.push(line);
      if (lines.length === 2) killed = stack.script('stack.ts', 'kill', victim);
    });
    await story;
    expect(await killed).toEqual({ code: 0, output: expect.stringContaining(`${victim} (`) });
    await eventually(async () => {
      const after = (await stack.running()).processes[victim];
      expect(after?.pid).toBeGreaterThan(0);
      expect(after?.pid).not.toBe(before?.pid);
    });
    await expectInvariants(await stack.running());
  });
});

/** Plays the story again if a request fails because its API was killed, as a person would retry. */
async function playWithRetry(demoTarget: DemoTarget, tell: (line: string) => void): Promise<void> {
  await playStory(demoTarget, tell).catch(async (error: Error) => {
    if (!/fetch failed|ECONN|answered 503/.test(`${error.message} ${error.cause}`)) throw error;
    await eventually(() => playStory(demoTarget, silent), { timeoutMs: 90_000 });
  });
}

test('a stopped broker causes no API error, attempt or dead letter, and all events arrive later', async () => {
  const { memberUrl } = target;
  const failures = async () => (await logOf(stack, 'member-relay')).match(/publishing failed, probing/g)?.length ?? 0;
  const before = await failures();
  expect((await stack.script('stack.ts', 'stop', 'broker')).code).toBe(0);
  const members = new Api(memberUrl);
  for (let n = 0; n < 10; n++) {
    const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: `No. ${n}` };
    await members.post('/v1/members', person);
    const { name: _, ...credentials } = person;
    await members.post('/v1/sessions', { ...credentials, device: { id: randomUUID(), name: 'phone', os: 'any' } });
  }
  const running = await stack.running();
  expect((await deliveryTotals(running)).waiting).toBe(20);
  // Until the relay has tried to publish and failed.
  await eventually(async () => expect(await failures()).toBeGreaterThan(before));
  expect((await stack.script('stack.ts', 'cont', 'broker')).code).toBe(0);
  await expectInvariants(running);
  expect(await deliveryTotals(running)).toEqual({ attempts: 0, waiting: 0 });
});

test('Ctrl-C shuts everything down and leaves no process and no open port', async () => {
  const { processes } = await stack.running();
  expect(await stack.interrupt()).toBe(0);
  const ports = Object.values(processes).flatMap((each) => Object.values(each.ports));
  expect(ports.length).toBeGreaterThan(10);
  expect(await Promise.all(ports.map(isOpen))).not.toContain(true);
  expect(Object.values(processes).filter(({ pid }) => isAlive(pid))).toEqual([]);
});

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
