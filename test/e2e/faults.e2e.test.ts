import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api } from '../../local/api.ts';
import { eventually } from '../support/eventually.ts';
import { messagesOf, publishRaw } from './broker.ts';
import { closeGate } from './gate.ts';
import { ownSystem, type Person } from './own-system.ts';
import { refuse } from './refusal.ts';

const { running, superuserUrl, sql, count, act, operator, register, logIn, invariants, allIsWell } = ownSystem();

test('members who log in at the same moment, on one device and on many, keep the sessions that no later one supersedes', async () => {
  const people = await Promise.all(Array.from({ length: 4 }, register));
  const devices = Array.from({ length: 4 }, () => randomUUID());
  const logIns = people.flatMap((person) => devices.map((device) => ({ person, device })));
  const sessions = await Promise.all(
    logIns.map(async ({ person, device }) => ({ person, device, number: (await logIn(person, device)).number })),
  );
  const lives = sessions.filter(
    ({ person, device, number }) =>
      !sessions.some((other) => other.number > number && (other.person === person || other.device === device)),
  );
  const alive = async () =>
    (
      await sql(
        'select number from session where logged_out_at is null and member_id = any($1)',
        people.map(({ id }) => id),
      )
    ).map(({ number }) => Number(number));
  await eventually(async () => expect((await alive()).sort()).toEqual(lives.map(({ number }) => number).sort()));
  await allIsWell();
  expect((await alive()).sort()).toEqual(lives.map(({ number }) => number).sort());
}, 60_000);

test('of the three login workers one stands still for a while: the other two do their work, and it makes up for it', async () => {
  const [anna, ben] = [await register(), await register()];
  await act('stop', 'device-login-recorder');
  const device = randomUUID();
  const sessions = [await logIn(anna), await logIn(anna, device), await logIn(ben, device)];
  await eventually(async () =>
    expect(await count('session', 'logged_out_at is null and member_id = any($1)', [anna.id, ben.id])).toBe(1),
  );
  expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(0);
  await act('cont', 'device-login-recorder');
  // A sidecar that finds its app away for a second stops hearing: what it had in its hands is brought again after 15 s.
  await eventually(
    async () => expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(sessions.length),
    { timeoutMs: 40_000 },
  );
  await allIsWell();
}, 90_000);

/** What consumers keep of these members’ events, as operators are told. */
async function keptOf(state: 'early' | 'failing' | 'dead', ...members: Person[]) {
  const { deliveries } = await operator().get(`/v1/dead-letters?state=${state}&limit=200`);
  return (deliveries as Kept[]).filter(({ aggregateId }) => members.some(({ id }) => id === aggregateId));
}

interface Kept {
  readonly consumer: string;
  readonly eventId: string;
  readonly aggregateId: string;
  readonly sequence: number;
  readonly attempts: number;
  readonly lastError: string | null;
}

test('the work of one of the three login workers fails for a while: the other two do theirs, it tries again, visibly, and makes up for it without a hand', async () => {
  const [anna, ben] = [await register(), await register()];
  await using refusal = await refuse(superuserUrl(), { table: 'login_record' });
  const device = randomUUID();
  for (const logsIn of [() => logIn(anna), () => logIn(anna, device), () => logIn(ben, device)]) await logsIn();
  await eventually(async () =>
    expect(await count('session', 'logged_out_at is null and member_id = any($1)', [anna.id, ben.id])).toBe(1),
  );
  await eventually(async () => {
    const kept = await keptOf('failing', anna, ben);
    expect(kept.map(({ consumer }) => consumer)).toEqual(Array(3).fill('device-login-recorder'));
    for (const { attempts, lastError } of kept) {
      expect(attempts).toBeGreaterThan(1);
      expect(lastError).toContain('P0001');
    }
  });
  const { events } = await operator().get(`/v1/events?aggregateId=${ben.id}`);
  expect(events.map(({ type, kept }: { type: string; kept: object[] }) => [type, kept])).toEqual([
    ['member.registered', []],
    ['member.logged-in', [expect.objectContaining({ consumer: 'device-login-recorder', state: 'failing' })]],
  ]);
  expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(0);
  await refusal.mend();
  await eventually(async () => expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(3), {
    timeoutMs: 20_000,
  });
  await allIsWell();
}, 60_000);

interface Choking {
  readonly consumer: string;
  /** Whether the member's later events wait with the one. */
  readonly order: 'convergent' | 'ordered';
  /** The rows by which it is one log-in that it chokes on: a member's first, on this device. */
  readonly chokesOn: (member: Person, device: string) => { readonly table: string; readonly when: string };
  /** How many of a member's log-ins it has dealt with. */
  readonly done: (member: Person) => Promise<number>;
}

const choking: Choking[] = [
  {
    consumer: 'device-login-recorder',
    order: 'convergent',
    chokesOn: (_, device) => ({ table: 'login_record', when: `new.device_id = '${device}'` }),
    done: ({ id }) => count('login_record', 'member_id = $1', id),
  },
  {
    consumer: 'external-broadcaster',
    order: 'ordered',
    chokesOn: ({ id }) => ({
      table: 'eventing.outbox',
      when: `new.channel = 'external' and new.ordering_key = '${id}' and (new.envelope->>'sequence')::int = 2`,
    }),
    done: async ({ id }) => (await broadcast(id)).filter(({ type }) => type === 'member.logged-in').length,
  },
];

/** What other systems have been told of a member, in the order in which the broker took it. */
const broadcast = async (memberId: string): Promise<{ type: string; sequence: string }[]> =>
  (await messagesOf(running().brokerUrl))
    .filter(({ topic }) => topic === 'member-external')
    .map(({ body }) => JSON.parse(body))
    .filter(({ subject }) => subject === memberId);

test.each(choking)(
  'the $order consumer $consumer chokes on one event: nothing waits that need not, it is parked after its attempts, for operators to see and to redrive',
  async ({ consumer, order, chokesOn, done }) => {
    const [hurt, other, device] = [await register(), await register(), randomUUID()];
    await allIsWell();
    await using refusal = await refuse(superuserUrl(), chokesOn(hurt, device));
    await logIn(hurt, device);
    const deals = { convergent: 1, ordered: 0 }[order];
    await logIn(hurt);
    await logIn(other);
    await eventually(async () => expect(await done(other)).toBe(1));
    await eventually(async () => expect(await done(hurt)).toBe(deals));
    const [failing] = await eventually(async () => {
      const kept = await keptOf('failing', hurt, other);
      expect(kept).toMatchObject([
        { consumer, aggregateId: hurt.id, sequence: 2, lastError: expect.stringContaining('P0001') },
      ]);
      expect(kept[0]!.attempts).toBeGreaterThan(1);
      return kept;
    });
    // The second log-in, and the end of the first one's session.
    const waiting = { convergent: [], ordered: [3, 4] }[order];
    const early = async () =>
      (await keptOf('early', hurt, other)).map(({ aggregateId, sequence }) => [aggregateId, sequence]);
    await eventually(async () => expect(await early()).toEqual(waiting.map((sequence) => [hurt.id, sequence])));

    // As after a minute, in which it would have tried seven times.
    await sql(
      `update eventing.kept_delivery set attempts = 7, next_attempt_at = clock_timestamp() where consumer = $1 and event_id = $2`,
      consumer,
      failing!.eventId,
    );
    await eventually(async () =>
      expect(await keptOf('dead', hurt, other)).toMatchObject([{ consumer, eventId: failing!.eventId, attempts: 8 }]),
    );
    await refusal.mend();
    await logIn(other);
    await eventually(async () => expect(await done(other)).toBe(2));
    expect(await done(hurt)).toBe(deals);
    expect(await keptOf('dead', hurt, other)).toMatchObject([{ eventId: failing!.eventId }]);

    await operator().post(`/v1/dead-letters/${consumer}/${failing!.eventId}/redrive`);
    await eventually(async () => expect(await done(hurt)).toBe(2));
    await allIsWell();
    expect((await broadcast(hurt.id)).map(({ sequence }) => Number(sequence))).toEqual([1, 2, 3, 4]);
  },
  60_000,
);

test('a message that no broker takes is held back with its member, visibly, and no other waits for it', async () => {
  const [hurt, other] = [await register(), await register()];
  await allIsWell();
  const message = randomUUID();
  await sql(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select $1::uuid, id, 'internal', 'member-internal', aggregate_id::text, jsonb_build_object('specversion', '1.0', 'id', $1::uuid, 'padding', repeat('x', 2000000))
       from eventing.event_store where aggregate_id = $2 limit 1`,
    message,
    hurt.id,
  );
  await logIn(hurt);
  await eventually(async () => {
    // What goes through beside it shows that the broker is not to blame.
    await logIn(other);
    const { events } = await operator().get(`/v1/events?aggregateId=${hurt.id}`);
    expect(events[0].messages).toContainEqual(
      expect.objectContaining({ id: message, publishedAt: null, lastError: 'nats: maximum payload exceeded' }),
    );
    expect(events[0].messages.find(({ id }: { id: string }) => id === message).attempts).toBeGreaterThan(0);
  });
  await eventually(async () => expect(await count('eventing.outbox', 'ordering_key = $1', other.id)).toBe(0));
  expect(await count('eventing.outbox', 'ordering_key = $1', hurt.id)).toBe(2);
  await sql('delete from eventing.outbox where id = $1', message);
  await invariants();
}, 60_000);

test('what is no event of ours is kept for an operator to see, and the topic goes on', async () => {
  const garbage = `no event ${randomUUID()}`;
  const stranger = { specversion: '1.0', id: randomUUID(), source: '/stranger', type: 'x', data: garbage };
  // More than a sidecar may have in its hands.
  const bodies = [JSON.stringify(stranger), ...Array.from({ length: 20 }, (_, i) => `{ ${i}: no JSON, ${garbage}`)];
  for (const body of bodies) await publishRaw(running().brokerUrl, 'member-internal', body);
  await logIn(await register());
  await eventually(async () => {
    const { deliveries: dead } = await operator().get('/v1/dead-letters?limit=200');
    const consumers = dead.map(({ consumer }: { consumer: string }) => consumer).sort();
    const hearers = [
      'device-login-recorder',
      'external-broadcaster',
      'other-device-logout',
      'other-member-logout',
      'publish-recorder',
    ];
    expect(consumers).toEqual(hearers.flatMap((name) => bodies.map(() => name)));
  });
  const { deliveries: dead } = await operator().get('/v1/dead-letters?limit=200');
  for (const { consumer, eventId } of dead) {
    const { raw } = await operator().get(`/v1/dead-letters/${consumer}/${eventId}`);
    expect(raw).toContain(garbage);
    await operator().post(`/v1/dead-letters/${consumer}/${eventId}/discard`);
  }
  await invariants();
}, 60_000);

/** Somebody who may have a family account, and lose the right to. */
async function verifiedMember() {
  const owner = await register();
  const { token } = await logIn(owner);
  const members = new Api(running().memberUrl, token);
  const verification = `/v1/members/${owner.id}/identity-verification`;
  await members.put(verification, { identityVerificationId: `ok-${randomUUID()}` });
  return {
    families: new Api(running().familyAccountUrl, token),
    releaseVerification: () => members.delete(verification, { reason: 'to see what happens' }),
  };
}

test('a verification that is released between the question whether it holds and the commit ends the membership all the same', async () => {
  const { families, releaseVerification } = await verifiedMember();
  const familyDatabase = Object.assign(new URL(running().databases.superuser), { pathname: '/family_account' }).href;
  await using gate = await closeGate(familyDatabase, { table: 'public.membership', at: 'commit' });
  const opened = families.post('/v1/family-accounts', { name: 'Home' });
  await gate.reached();
  await releaseVerification();
  // It finds no membership to end.
  await allIsWell();
  await gate.open();
  const account = await opened;
  const status = async () =>
    (await families.as(running().familyAccountOperatorToken).get(`/v1/family-accounts/${account.id}`)).status;
  await eventually(async () => expect(await status()).toBe('CLOSED'));
  await allIsWell();
}, 60_000);

test('a neighbour that cannot be asked costs no attempt and no dead letter: what it was to be asked for is done when it is back', async () => {
  const { families, releaseVerification } = await verifiedMember();
  const account = await families.post('/v1/family-accounts', { name: 'Home' });
  await act('stop', 'family-account');
  await releaseVerification();
  await act('stop', 'member');
  await act('cont', 'family-account');
  const family = new Client({ connectionString: running().databases.familyAccount.readonly });
  await family.connect();
  try {
    const kept = async () =>
      (await family.query(`select state, attempts from eventing.kept_delivery where consumer = 'membership'`)).rows;
    await eventually(async () => expect(await kept()).toEqual([{ state: 'failing', attempts: 0 }]), {
      timeoutMs: 20_000,
    });
    await act('cont', 'member');
    await eventually(async () => expect(await kept()).toEqual([]));
  } finally {
    await family.end();
  }
  const { status } = await families.as(running().familyAccountOperatorToken).get(`/v1/family-accounts/${account.id}`);
  expect(status).toBe('CLOSED');
  await invariants();
}, 60_000);
