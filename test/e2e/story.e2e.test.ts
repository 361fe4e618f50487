import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { Api } from '../../local/api.ts';
import { playStory, type Stage } from '../../local/story.ts';
import { eventually } from '../support/eventually.ts';
import { logOf, startStack, type TestStack } from '../support/stack.ts';
import { deliveries, invariants } from './invariants.ts';

let stack: TestStack;
let stage: Stage;
beforeAll(async () => {
  stack = await startStack();
  stage = await stack.running();
}, 130_000);
afterAll(() => stack?.[Symbol.asyncDispose](), 60_000);

const silent = () => undefined;

test('the story comes true: each fact travels every hop, and each effect is there once', async () => {
  const journeys = await playStory(stage, silent);
  const types = new Set(journeys.map(({ type }) => type));
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
  for (const { type, messages, handledBy } of journeys) {
    const broadcaster = type.startsWith('member.') ? 'external-broadcaster' : expect.any(String);
    expect(messages.map(({ channel }) => channel).sort()).toEqual(['external', 'internal']);
    for (const { relayedAt, publishedAt } of messages)
      expect([relayedAt ?? publishedAt, publishedAt]).not.toContain(null);
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
  const released = journeys.find(({ type }) => type === 'member.identity-verification-released');
  expect(released?.elsewhere).toMatchObject([{ system: 'family-account' }]);
  await invariants(await stack.running());
}, 90_000);

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
  test('changes nothing in the end', async () => {
    const before = (await stack.running()).processes[victim];
    expect(before).toBeDefined();
    let killed: Promise<{ code: number; output: string }> | undefined;
    const lines: string[] = [];
    const story = playUntilItHolds(stage, (line) => {
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
    await invariants(await stack.running());
  }, 120_000);
});

/** A client's request may fail while an API itself is killed; a person would try again. The effects of what was done must hold. */
async function playUntilItHolds(on: Stage, tell: (line: string) => void): Promise<void> {
  await playStory(on, tell).catch(async (error: Error) => {
    if (!/fetch failed|ECONN|answered 503/.test(`${error.message} ${error.cause}`)) throw error;
    await eventually(() => playStory(on, silent), { timeoutMs: 90_000 });
  });
}

test('a broker that stands still is not felt by callers, costs no attempt and no dead letter, and everything arrives afterwards', async () => {
  const { memberUrl } = stage;
  const complaints = async () => (await logOf(stack, 'member-relay')).match(/nothing can be published/g)?.length ?? 0;
  const before = await complaints();
  expect((await stack.script('stack.ts', 'stop', 'broker')).code).toBe(0);
  const members = new Api(memberUrl);
  for (let n = 0; n < 10; n++) {
    const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: `No. ${n}` };
    await members.post('/v1/members', person);
    const { name: _, ...credentials } = person;
    await members.post('/v1/sessions', { ...credentials, device: { id: randomUUID(), name: 'phone', os: 'any' } });
  }
  const running = await stack.running();
  expect((await deliveries(running)).waiting).toBe(20);
  // Until the relay has tried, and has been told for sure that it cannot be done.
  await eventually(async () => expect(await complaints()).toBeGreaterThan(before), { timeoutMs: 20_000 });
  expect((await stack.script('stack.ts', 'cont', 'broker')).code).toBe(0);
  await invariants(running);
  expect(await deliveries(running)).toEqual({ attempts: 0, waiting: 0 });
}, 120_000);

test('Ctrl-C stops everything in order and leaves no process and no port behind', async () => {
  const { processes } = await stack.running();
  expect(await stack.interrupt()).toBe(0);
  const ports = Object.values(processes).flatMap((each) => Object.values(each.ports));
  expect(ports.length).toBeGreaterThan(10);
  expect(await Promise.all(ports.map(isOpen))).not.toContain(true);
  expect(Object.values(processes).filter(({ pid }) => isAlive(pid))).toEqual([]);
}, 60_000);

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
