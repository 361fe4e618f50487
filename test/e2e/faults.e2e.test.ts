import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api } from '../../local/api.ts';
import { eventually } from '../support/eventually.ts';
import { publishRaw } from './broker.ts';
import { ownSystem } from './own-system.ts';

const { running, sql, count, act, operator, register, logIn, invariants, allIsWell } = ownSystem();

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

test('of the three login workers one fails for a while: the other two do their work, and it makes up for it', async () => {
  const [anna, ben] = [await register(), await register()];
  await act('stop', 'device-login-recorder');
  const device = randomUUID();
  const sessions = [await logIn(anna), await logIn(anna, device), await logIn(ben, device)];
  await eventually(async () =>
    expect(await count('session', 'logged_out_at is null and member_id = any($1)', [anna.id, ben.id])).toBe(1),
  );
  expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(0);
  await act('cont', 'device-login-recorder');
  await eventually(async () =>
    expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(sessions.length),
  );
  await allIsWell();
}, 60_000);

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
  await publishRaw(running().brokerUrl, 'member-internal', JSON.stringify(stranger));
  await logIn(await register());
  await eventually(async () => {
    const { deliveries: dead } = await operator().get('/v1/dead-letters');
    const consumers = dead.map(({ consumer }: { consumer: string }) => consumer).sort();
    expect(consumers).toEqual([
      'device-login-recorder',
      'external-broadcaster',
      'other-device-logout',
      'other-member-logout',
      'publish-recorder',
    ]);
  });
  const { deliveries: dead } = await operator().get('/v1/dead-letters');
  for (const { consumer, eventId } of dead) {
    const { raw } = await operator().get(`/v1/dead-letters/${consumer}/${eventId}`);
    expect(raw).toContain(garbage);
    await operator().post(`/v1/dead-letters/${consumer}/${eventId}/discard`);
  }
  await invariants();
}, 60_000);

test('a neighbour that cannot be asked costs no attempt and no dead letter: what it was to be asked for is done when it is back', async () => {
  const families = new Api(running().familyAccountUrl);
  const members = new Api(running().memberUrl);
  const owner = await register();
  const { token } = await logIn(owner);
  await members.as(token).put(`/v1/members/${owner.id}/identity-verification`, {
    identityVerificationId: `ok-${randomUUID()}`,
  });
  const account = await families.as(token).post('/v1/family-accounts', { name: 'Home' });
  await act('stop', 'family-account');
  await members.as(token).delete(`/v1/members/${owner.id}/identity-verification`, { reason: 'to see what happens' });
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
