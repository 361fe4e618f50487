import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Api } from './demo/api.ts';
import { type EventTrace, timeline } from './demo/timeline.ts';
import { dataDirectory } from './options.ts';
import { readRunning } from './supervisor/running.ts';

/** The APIs that the story calls. */
export interface DemoTarget {
  readonly memberUrl: string;
  readonly familyAccountUrl: string;
  /** The operators' ports and tokens, with which the story reads the trace of each event. */
  readonly memberOperationsUrl: string;
  readonly familyAccountOperationsUrl: string;
  readonly memberOperatorToken: string;
  readonly familyAccountOperatorToken: string;
}

export interface Person {
  readonly name: string;
  readonly id: string;
  readonly email: string;
  readonly password: string;
}

/**
 * Plays the story through the public APIs: two members share a family account, log in on several devices, and the
 * identity verification of one is released. Waits for each effect of the workers and of the family-account service.
 * @param print called with each line of output
 * @returns the traces of all events of the story, read with the operator tokens
 * @throws Error naming the effect that is missing after 30 s
 */
export async function playStory(
  target: DemoTarget,
  print: (line: string) => void,
  { colour = false } = {},
): Promise<EventTrace[]> {
  const member = new Api(target.memberUrl);
  const families = new Api(target.familyAccountUrl);
  const logIn = (person: Person, device: string) => openSession(member, person, device);

  const anna = await register(member, 'Anna');
  const ben = await register(member, 'Ben');
  print('Anna and Ben register, log in and verify their identity.');
  const phone = await logIn(anna, 'phone');
  const tablet = await logIn(ben, 'tablet');
  for (const [person, token] of [
    [anna, phone],
    [ben, tablet],
  ] as const) {
    await member
      .as(token)
      .put(`/v1/members/${person.id}/identity-verification`, { identityVerificationId: `ok-${randomUUID()}` });
  }

  print('Anna opens a family account and invites Ben, who joins it.');
  const account = await families.as(phone).post('/v1/family-accounts', { name: 'Home' });
  const { code } = await families.as(phone).post(`/v1/family-accounts/${account.id}/invitations`);
  await families.as(tablet).post(`/v1/invitations/${code}/acceptance`);

  print('Anna logs in on a laptop: her phone is logged out.');
  const laptopId = randomUUID();
  const laptop = await logIn(anna, laptopId);
  await until('Anna’s phone is logged out', () => isRefused(member.as(phone)));

  print('Ben logs in on the same laptop: Anna is logged out there, and so is Ben’s tablet.');
  const shared = await logIn(ben, laptopId);
  await until('Anna is logged out on the laptop', () => isRefused(member.as(laptop)));
  await until('Ben’s tablet is logged out', () => isRefused(member.as(tablet)));
  await until('the family-account API refuses the ended session', () =>
    isRefused(families.as(tablet), `/v1/family-accounts/${account.id}`),
  );

  print(
    'Ben’s identity verification is released. The member service publishes the event; it knows no family accounts.',
  );
  await member.as(shared).delete(`/v1/members/${ben.id}/identity-verification`, { reason: 'his document has expired' });
  const again = await logIn(anna, 'phone');
  await until('Ben’s membership of the family account has ended', async () => {
    const { members } = await families.as(again).get(`/v1/family-accounts/${account.id}`);
    return members.length === 1 && members[0].memberId === anna.id;
  });
  print('The family-account service receives the event and ends Ben’s membership.');

  const about = new Map([
    [anna.id, 'Anna'],
    [ben.id, 'Ben'],
    [account.id as string, 'the family account'],
  ]);
  const traces = await until('every event is confirmed and handled', () => completedTraces(target, about));
  print('');
  for (const line of timeline(traces, colour)) print(line);
  return traces;
}

async function register(member: Api, name: string): Promise<Person> {
  const person = { name, email: `${name.toLowerCase()}.${randomUUID()}@example.com`, password: randomUUID() };
  const { id } = await member.post('/v1/members', person);
  return { ...person, id };
}

async function openSession(member: Api, { email, password }: Person, device: string): Promise<string> {
  const { token } = await member.post('/v1/sessions', {
    email,
    password,
    device: { id: device, name: `a ${device}`.slice(0, 20), os: 'any' },
  });
  return token;
}

async function isRefused(api: Api, path = '/v1/sessions/current'): Promise<boolean> {
  return api.get(path).then(
    () => false,
    (error: Error) => {
      if (/answered 401/.test(error.message)) return true;
      throw error;
    },
  );
}

/** @returns the traces of the aggregates' events; false until all messages are confirmed and all consumers are done */
async function completedTraces(target: DemoTarget, about: ReadonlyMap<string, string>): Promise<EventTrace[] | false> {
  const systems = [
    { name: 'member', api: new Api(target.memberOperationsUrl, target.memberOperatorToken) },
    { name: 'family-account', api: new Api(target.familyAccountOperationsUrl, target.familyAccountOperatorToken) },
  ] as const;
  const traces: EventTrace[] = [];
  for (const [aggregateId, name] of about) {
    for (const { name: owner, api } of systems) {
      const { events } = await api.get(`/v1/events?aggregateId=${aggregateId}`);
      for (const event of events) {
        const others = systems.filter((system) => system.name !== owner);
        const elsewhere = await Promise.all(others.map((system) => handledIn(system.name, system.api, event.id)));
        traces.push({ ...event, about: name, elsewhere: elsewhere.flat() });
      }
    }
  }
  return traces.every(isComplete) && traces;
}

async function handledIn(
  system: string,
  api: Api,
  eventId: string,
): Promise<{ system: string; consumer: string; at: string }[]> {
  const { handledBy } = await api.get(`/v1/events/${eventId}`).catch(() => ({ handledBy: [] }));
  return handledBy.map((by: { consumer: string; at: string }) => ({ system, ...by }));
}

function isComplete({ type, messages, handledBy, elsewhere }: EventTrace): boolean {
  const loginConsumers = type === 'member.logged-in' ? 3 : 0;
  const endsMembership = type === 'member.identity-verification-released';
  return (
    // A republish to one app adds a message with that app as its target.
    messages.filter(({ target }) => target === 'ALL').length === 2 &&
    messages.every(({ publishedAt }) => publishedAt !== null) &&
    handledBy.length >= 1 + loginConsumers &&
    (!endsMembership || elsewhere.length > 0)
  );
}

/** Repeats `attempt` until its result is neither false nor an error. @throws Error naming `what` after 30 s */
async function until<T>(what: string, attempt: () => Promise<T | false>): Promise<T> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const result = await attempt().catch((error: Error) => error);
    if (result !== false && !Error.isError(result)) return result;
    if (performance.now() > deadline) {
      throw new Error(`Not within 30 s: ${what}${Error.isError(result) ? ` (${result.message})` : ''}`);
    }
    await delay(50);
  }
}

// `npm run story`: plays the story against the running system.
if (import.meta.main) {
  // A reader such as `head` may close the pipe early.
  process.stdout.on('error', () => process.exit(0));
  try {
    const { values } = parseArgs({ options: { data: { type: 'string' } } });
    const target = await readRunning(dataDirectory(values.data));
    await playStory(target, (line) => process.stdout.write(`${line}\n`), { colour: process.stdout.isTTY });
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
