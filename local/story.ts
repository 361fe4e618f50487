import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Api } from './api.ts';
import { dataDirectory } from './options.ts';
import { readRunning } from './running.ts';
import { type Journey, timeline } from './timeline.ts';

/** Where the story is played. */
export interface Stage {
  readonly memberUrl: string;
  readonly familyAccountUrl: string;
  /** The operators' credentials, to read how far each event has come. */
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
 * Plays the story through the public APIs: two members found a family account, log in here and there, and one's verification is released.
 * Each effect that workers and the other system bring about is waited for.
 * @param tell takes each line of it
 * @returns the journeys of all its events
 * @throws when an effect does not come about within 30 s, naming it
 */
export async function playStory(
  stage: Stage,
  tell: (line: string) => void,
  { colour = false } = {},
): Promise<Journey[]> {
  const member = new Api(stage.memberUrl);
  const families = new Api(stage.familyAccountUrl);
  const logIn = (who: Person, device: string) => openSession(member, who, device);

  const anna = await register(member, 'Anna');
  const ben = await register(member, 'Ben');
  tell('Anna and Ben register, log in and verify their identity.');
  const phone = await logIn(anna, 'phone');
  const tablet = await logIn(ben, 'tablet');
  for (const [who, token] of [
    [anna, phone],
    [ben, tablet],
  ] as const) {
    await member
      .as(token)
      .put(`/v1/members/${who.id}/identity-verification`, { identityVerificationId: `ok-${randomUUID()}` });
  }

  tell('Anna opens a family account and invites Ben, who joins it.');
  const account = await families.as(phone).post('/v1/family-accounts', { name: 'Home' });
  const { code } = await families.as(phone).post(`/v1/family-accounts/${account.id}/invitations`);
  await families.as(tablet).post(`/v1/invitations/${code}/acceptance`);

  tell('Anna logs in on a laptop: her phone is logged out.');
  const laptopId = randomUUID();
  const laptop = await logIn(anna, laptopId);
  await until('Anna’s phone is logged out', () => isRefused(member.as(phone)));

  tell('Ben logs in on the same laptop: Anna is logged out there, and Ben’s tablet is too.');
  const shared = await logIn(ben, laptopId);
  await until('Anna is logged out on the laptop', () => isRefused(member.as(laptop)));
  await until('Ben’s tablet is logged out', () => isRefused(member.as(tablet)));
  await until('the family-account API refuses the ended session', () =>
    isRefused(families.as(tablet), `/v1/family-accounts/${account.id}`),
  );

  tell('Ben’s identity verification is released: a fact of the member system, which knows no family account.');
  await member.as(shared).delete(`/v1/members/${ben.id}/identity-verification`, { reason: 'his document has expired' });
  const again = await logIn(anna, 'phone');
  await until('the family account has lost Ben', async () => {
    const { members } = await families.as(again).get(`/v1/family-accounts/${account.id}`);
    return members.length === 1 && members[0].memberId === anna.id;
  });
  tell('The family account, which heard it, has lost Ben.');

  const about = new Map([
    [anna.id, 'Anna'],
    [ben.id, 'Ben'],
    [account.id as string, 'the family account'],
  ]);
  const journeys = await until('every event has come back and was handled', () => completedJourneys(stage, about));
  tell('');
  for (const line of timeline(journeys, colour)) tell(line);
  return journeys;
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

/** All journeys of the story's aggregates, once each message came back and each consumer has had its turn; false before. */
async function completedJourneys(stage: Stage, about: ReadonlyMap<string, string>): Promise<Journey[] | false> {
  const systems = [
    { name: 'member', api: new Api(stage.memberUrl, stage.memberOperatorToken) },
    { name: 'family-account', api: new Api(stage.familyAccountUrl, stage.familyAccountOperatorToken) },
  ] as const;
  const journeys: Journey[] = [];
  for (const [aggregateId, name] of about) {
    for (const { name: owner, api } of systems) {
      const { events } = await api.get(`/v1/events?aggregateId=${aggregateId}`);
      for (const event of events) {
        const others = systems.filter((system) => system.name !== owner);
        const elsewhere = await Promise.all(others.map((system) => heardIn(system.name, system.api, event.id)));
        journeys.push({ ...event, about: name, elsewhere: elsewhere.flat() });
      }
    }
  }
  return journeys.every(isComplete) && journeys;
}

async function heardIn(
  system: string,
  api: Api,
  eventId: string,
): Promise<{ system: string; consumer: string; at: string }[]> {
  const { handledBy } = await api.get(`/v1/events/${eventId}`).catch(() => ({ handledBy: [] }));
  return handledBy.map((by: { consumer: string; at: string }) => ({ system, ...by }));
}

function isComplete({ type, messages, handledBy, elsewhere }: Journey): boolean {
  const loginWork = type === 'member.logged-in' ? 3 : 0;
  const ended = type === 'member.identity-verification-released';
  return (
    // What one app was sent once more is a message of its own.
    messages.filter(({ target }) => target === 'ALL').length === 2 &&
    messages.every(({ publishedAt }) => publishedAt !== null) &&
    handledBy.length >= 1 + loginWork &&
    (!ended || elsewhere.length > 0)
  );
}

/** Asks again until the answer is neither false nor an error; after 30 s says what did not come about. */
async function until<T>(what: string, ask: () => Promise<T | false>): Promise<T> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const answer = await ask().catch((error: Error) => error);
    if (answer !== false && !Error.isError(answer)) return answer;
    if (performance.now() > deadline) {
      throw new Error(`Not within 30 s: ${what}${Error.isError(answer) ? ` (${answer.message})` : ''}`);
    }
    await delay(50);
  }
}

// `npm run story`: plays it again, against the system that is running.
if (import.meta.main) {
  // Who reads the beginning only, as `head` does, has had enough.
  process.stdout.on('error', () => process.exit(0));
  try {
    const { values } = parseArgs({ options: { data: { type: 'string' } } });
    const stage = await readRunning(dataDirectory(values.data));
    await playStory(stage, (line) => process.stdout.write(`${line}\n`), { colour: process.stdout.isTTY });
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
