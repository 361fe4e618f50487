import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api } from '../../local/demo/api.ts';
import { eventually } from '../support/eventually.ts';
import { publishRaw } from './broker.ts';
import { failingEvents } from './failing-events.ts';
import { failInserts } from './failing-table.ts';
import { ownSystem } from './own-system.ts';
import { closeTransactionGate } from './transaction-gate.ts';

const system = ownSystem();
const { running, superuserUrl, sql, count, control, operator, register, logIn, expectInvariants, expectSettled } =
  system;
const { deferredOf, broadcast, poisonCases } = failingEvents(system);

test('concurrent logins of several members on shared devices leave only unsuperseded sessions', async () => {
  const people = await Promise.all(Array.from({ length: 4 }, register));
  const devices = Array.from({ length: 4 }, () => randomUUID());
  const logIns = people.flatMap((person) => devices.map((device) => ({ person, device })));
  const sessions = await Promise.all(
    logIns.map(async ({ person, device }) => ({ person, device, number: (await logIn(person, device)).number })),
  );
  const expected = sessions.filter(
    ({ person, device, number }) =>
      !sessions.some((other) => other.number > number && (other.person === person || other.device === device)),
  );
  const liveNumbers = async () =>
    (
      await sql(
        'select number from session where logged_out_at is null and member_id = any($1)',
        people.map(({ id }) => id),
      )
    ).map(({ number }) => Number(number));
  const expectedNumbers = expected.map(({ number }) => number).sort();
  await eventually(async () => expect((await liveNumbers()).sort()).toEqual(expectedNumbers));
  await expectSettled();
  expect((await liveNumbers()).sort()).toEqual(expectedNumbers);
});

test('a stopped login worker does not delay the other two, and catches up when it continues', async () => {
  const [anna, ben] = [await register(), await register()];
  await control('stop', 'device-login-recorder');
  const device = randomUUID();
  const sessions = [await logIn(anna), await logIn(anna, device), await logIn(ben, device)];
  await eventually(async () =>
    expect(await count('session', 'logged_out_at is null and member_id = any($1)', [anna.id, ben.id])).toBe(1),
  );
  expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(0);
  await control('cont', 'device-login-recorder');
  // A sidecar whose app does not answer for a second stops receiving; deliveries in progress are repeated after 15 s.
  await eventually(async () =>
    expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(sessions.length),
  );
  await expectSettled();
});

test('a failing login worker retries visibly, recovers by itself and does not delay the others', async () => {
  const [anna, ben] = [await register(), await register()];
  await using failingTable = await failInserts(superuserUrl(), { table: 'login_record' });
  const device = randomUUID();
  for (const login of [() => logIn(anna), () => logIn(anna, device), () => logIn(ben, device)]) await login();
  await eventually(async () =>
    expect(await count('session', 'logged_out_at is null and member_id = any($1)', [anna.id, ben.id])).toBe(1),
  );
  await eventually(async () => {
    const deferred = await deferredOf('failing', anna, ben);
    expect(deferred.map(({ consumer }) => consumer)).toEqual(Array(3).fill('device-login-recorder'));
    for (const { attempts, lastError } of deferred) {
      expect(attempts).toBeGreaterThan(1);
      expect(lastError).toContain('P0001');
    }
  });
  const { events } = await operator().get(`/v1/events?aggregateId=${ben.id}`);
  expect(events.map(({ type, deferred }: { type: string; deferred: object[] }) => [type, deferred])).toEqual([
    ['member.registered', []],
    ['member.logged-in', [expect.objectContaining({ consumer: 'device-login-recorder', state: 'failing' })]],
  ]);
  expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(0);
  await failingTable.repair();
  await eventually(async () => expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(3));
  await expectSettled();
});

test.each(poisonCases)(
  'a failing event of $consumer ($order) becomes a redrivable dead letter',
  async ({ consumer, order, failsOn, handled }) => {
    const [affected, other, device] = [await register(), await register(), randomUUID()];
    await expectSettled();
    await using failingTable = await failInserts(superuserUrl(), failsOn(affected, device));
    await logIn(affected, device);
    const handledMeanwhile = { convergent: 1, ordered: 0 }[order];
    await logIn(affected);
    await logIn(other);
    await eventually(async () => expect(await handled(other)).toBe(1));
    await eventually(async () => expect(await handled(affected)).toBe(handledMeanwhile));
    const [failing] = await eventually(async () => {
      const deferred = await deferredOf('failing', affected, other);
      expect(deferred).toMatchObject([
        { consumer, aggregateId: affected.id, sequence: 2, lastError: expect.stringContaining('P0001') },
      ]);
      expect(deferred[0]!.attempts).toBeGreaterThan(1);
      return deferred;
    });
    // The second login, and the logout of the first session.
    const waiting = { convergent: [], ordered: [3, 4] }[order];
    const outOfOrder = async () =>
      (await deferredOf('early', affected, other)).map(({ aggregateId, sequence }) => [aggregateId, sequence]);
    const expected = waiting.map((sequence) => [affected.id, sequence]);
    await eventually(async () => expect(await outOfOrder()).toEqual(expected));

    // Simulates the seven attempts of a minute.
    await sql(
      `update eventing.kept_delivery set attempts = 7, next_attempt_at = clock_timestamp() where consumer = $1 and event_id = $2`,
      consumer,
      failing!.eventId,
    );
    await eventually(async () =>
      expect(await deferredOf('dead', affected, other)).toMatchObject([
        { consumer, eventId: failing!.eventId, attempts: 8 },
      ]),
    );
    await failingTable.repair();
    await logIn(other);
    await eventually(async () => expect(await handled(other)).toBe(2));
    expect(await handled(affected)).toBe(handledMeanwhile);
    expect(await deferredOf('dead', affected, other)).toMatchObject([{ eventId: failing!.eventId }]);

    await operator().post(`/v1/dead-letters/${consumer}/${failing!.eventId}/redrive`);
    await eventually(async () => expect(await handled(affected)).toBe(2));
    await expectSettled();
    expect((await broadcast(affected.id)).map(({ sequence }) => Number(sequence))).toEqual([1, 2, 3, 4]);
  },
);

test('a message that the broker rejects waits with its member, visibly, and delays no other', async () => {
  const [affected, other] = [await register(), await register()];
  await expectSettled();
  const message = randomUUID();
  await sql(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select $1::uuid, id, 'internal', 'member-internal', aggregate_id::text, jsonb_build_object('specversion', '1.0', 'id', $1::uuid, 'padding', repeat('x', 2000000))
       from eventing.event_store where aggregate_id = $2 limit 1`,
    message,
    affected.id,
  );
  await logIn(affected);
  await eventually(async () => {
    // Accepted messages of other members show that this is no outage.
    await logIn(other);
    const { events } = await operator().get(`/v1/events?aggregateId=${affected.id}`);
    expect(events[0].messages).toContainEqual(
      expect.objectContaining({ id: message, publishedAt: null, lastError: 'nats: maximum payload exceeded' }),
    );
    expect(events[0].messages.find(({ id }: { id: string }) => id === message).attempts).toBeGreaterThan(0);
  });
  await eventually(async () => expect(await count('eventing.outbox', 'ordering_key = $1', other.id)).toBe(0));
  expect(await count('eventing.outbox', 'ordering_key = $1', affected.id)).toBe(2);
  await sql('delete from eventing.outbox where id = $1', message);
  await expectInvariants();
});

test('foreign and malformed messages become dead letters, and the topic goes on', async () => {
  const garbage = `no event ${randomUUID()}`;
  const foreign = { specversion: '1.0', id: randomUUID(), source: '/foreign', type: 'x', data: garbage };
  // More than a sidecar may have in progress.
  const bodies = [JSON.stringify(foreign), ...Array.from({ length: 20 }, (_, i) => `{ ${i}: no JSON, ${garbage}`)];
  for (const body of bodies) await publishRaw(running().brokerUrl, 'member-internal', body);
  await logIn(await register());
  await eventually(async () => {
    const { deliveries: dead } = await operator().get('/v1/dead-letters?limit=200');
    const consumers = dead.map(({ consumer }: { consumer: string }) => consumer).sort();
    const subscribers = [
      'device-login-recorder',
      'external-broadcaster',
      'other-device-logout',
      'other-member-logout',
      'publish-recorder',
    ];
    expect(consumers).toEqual(subscribers.flatMap((name) => bodies.map(() => `${name}:body`)));
  });
  const { deliveries: dead } = await operator().get('/v1/dead-letters?limit=200');
  for (const { consumer, eventId } of dead) {
    const { raw } = await operator().get(`/v1/dead-letters/${consumer}/${eventId}`);
    expect(raw).toContain(garbage);
    await operator().post(`/v1/dead-letters/${consumer}/${eventId}/discard`);
  }
  await expectInvariants();
});

/** Creates a member that may open a family account until its verification is released. */
async function createVerifiedMember() {
  const owner = await register();
  const { token } = await logIn(owner);
  const members = new Api(running().memberUrl, token);
  const verification = `/v1/members/${owner.id}/identity-verification`;
  await members.put(verification, { identityVerificationId: `ok-${randomUUID()}` });
  const { familyAccountUrl, familyAccountOperationsUrl, familyAccountOperatorToken } = running();
  return {
    families: new Api(familyAccountUrl, token),
    statusOf: async (account: { id: string }) =>
      (await new Api(familyAccountOperationsUrl, familyAccountOperatorToken).get(`/v1/family-accounts/${account.id}`))
        .status,
    releaseVerification: () => members.delete(verification, { reason: 'a test' }),
  };
}

test('a verification released between its check and the commit still ends the membership', async () => {
  const { families, statusOf, releaseVerification } = await createVerifiedMember();
  const familyDatabase = Object.assign(new URL(running().databases.superuser), { pathname: '/family_account' }).href;
  const where = { table: 'public.membership', at: 'commit' } as const;
  await using transactionGate = await closeTransactionGate(familyDatabase, where);
  const opened = families.post('/v1/family-accounts', { name: 'Home' });
  await transactionGate.waitUntilReached();
  await releaseVerification();
  // The release finds no membership to end.
  await expectSettled();
  await transactionGate.open();
  const account = await opened;
  await eventually(async () => expect(await statusOf(account)).toBe('CLOSED'));
  await expectSettled();
});

test('an unreachable member API costs no attempt or dead letter, and the event is handled later', async () => {
  const { families, statusOf, releaseVerification } = await createVerifiedMember();
  const account = await families.post('/v1/family-accounts', { name: 'Home' });
  await control('stop', 'family-account');
  await releaseVerification();
  await control('stop', 'member');
  await control('cont', 'family-account');
  const family = new Client({ connectionString: running().databases.familyAccount.readonly });
  await family.connect();
  try {
    const deferred = async () =>
      (await family.query(`select state, attempts from eventing.kept_delivery where consumer = 'membership'`)).rows;
    await eventually(async () => expect(await deferred()).toEqual([{ state: 'failing', attempts: 0 }]));
    await control('cont', 'member');
    await eventually(async () => expect(await deferred()).toEqual([]));
  } finally {
    await family.end();
  }
  expect(await statusOf(account)).toBe('CLOSED');
  await expectInvariants();
});
