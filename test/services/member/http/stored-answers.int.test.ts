import { createHash, createHmac, getHashes, hash, hkdfSync } from 'node:crypto';
import { Client } from 'pg';
import { Idempotency } from '#http/idempotency';
import { idempotencyMigrations } from '#http/idempotency-table';
import { eventually } from '../../../support/eventually.ts';
import { aPerson, masterKey, PASSWORD } from '../support.ts';
import { type MemberApi, problem, startMemberApi } from './api.ts';

let api: MemberApi;
beforeAll(async () => {
  api = await startMemberApi();
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => api.system.database.sql('delete from service.idempotency'));

let next = 0;
const newKey = () => `a-key-of-this-test-${next++}`;
const device = { id: 'a phone', name: 'phone', os: 'any' };
const register = (body: object, key: string) => api.call('POST', '/v1/members', { body, key });
const logIn = (email: string, key: string) =>
  api.call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device }, key });
const rows = () =>
  api.system.database.sql<{ key_hash: Buffer; fingerprint: Buffer; answer: Buffer; subject: string | null }>(
    'select * from service.idempotency',
  );

/** Yields all digests of a text that need no secret, plain and with a salt before or after it, in hex. */
function* digestsOf(text: string, salts: readonly Buffer[]): Generator<string> {
  const bytes = Buffer.from(text);
  for (const algorithm of getHashes()) {
    const digest = (data: Buffer) => hash(algorithm, data, 'hex');
    for (const data of [
      bytes,
      ...salts.flatMap((salt) => [Buffer.concat([salt, bytes]), Buffer.concat([bytes, salt])]),
    ])
      yield digest(data);
    if (/shake|kmac/.test(algorithm)) continue;
    for (const salt of salts) yield createHmac(algorithm, salt).update(bytes).digest('hex');
  }
}

describe('A stored answer', () => {
  test('verifies no password guess, even for a reader of the whole database', async () => {
    const [person, key] = [{ ...aPerson(), password: PASSWORD }, newKey()];
    await register(person, key);
    const [row] = await rows();
    const stored = Object.values(row!).map((value) => (Buffer.isBuffer(value) ? value.toString('hex') : `${value}`));
    const { email, password, name } = person;
    const bodies = [
      { email, password, name },
      { email, name, password },
      { password, email, name },
    ];
    const requests = bodies.flatMap((body) => [
      JSON.stringify(['POST', '/v1/members', body]),
      JSON.stringify(body),
      `POST\n/v1/members\n${JSON.stringify(body)}`,
    ]);
    const salts = [row!.key_hash, row!.key_hash.subarray(0, 16), row!.answer.subarray(0, 16)];
    const digests = [...requests, password].flatMap((request) => [...digestsOf(request, salts)]);
    expect(digests.length).toBeGreaterThan(1_000);
    expect(digests.filter((digest) => digest.length >= 32 && stored.some((value) => value.includes(digest)))).toEqual(
      [],
    );
  });

  test('differs in every column with another secret', async () => {
    const [key, answer] = [newKey(), { status: 204, headers: {}, text: null }];
    for (const secret of [masterKey, Buffer.alloc(32, 8)])
      await new Idempotency(secret).once(
        api.system.em(),
        { key, requester: 'anyone', request: 'x' },
        async () => answer,
      );
    const [one, other] = await rows();
    for (const column of ['key_hash', 'fingerprint', 'answer'] as const)
      expect(one![column].equals(other![column])).toBe(false);
  });

  test('has another fingerprint for the same request with another key', async () => {
    const answer = { status: 204, headers: {}, text: null };
    for (const key of [newKey(), newKey()])
      await new Idempotency(masterKey).once(
        api.system.em(),
        { key, requester: 'anyone', request: 'x' },
        async () => answer,
      );
    const [one, other] = await rows();
    expect(one!.fingerprint.equals(other!.fingerprint)).toBe(false);
  });

  test('is deleted when its member withdraws, and no other answer is', async () => {
    const [anna, ben] = [aPerson(), aPerson()];
    const key = newKey();
    const { body: member } = await register({ ...anna, password: PASSWORD }, key);
    const { body: session } = await logIn(anna.email, newKey());
    const { body: other } = await register({ ...ben, password: PASSWORD }, newKey());
    expect((await rows()).map(({ subject }) => subject).sort()).toEqual([member.id, member.id, other.id].sort());
    expect(await api.call('DELETE', `/v1/members/${member.id}`, { token: session.token })).toMatchObject({
      status: 204,
    });
    expect((await rows()).map(({ subject }) => subject)).toEqual([other.id]);
    const again = await register({ ...anna, password: PASSWORD }, key);
    expect([again.status, again.body.id === member.id]).toEqual([201, false]);
  });
});

describe('A row written by release 0.1', () => {
  const request = (person: object) => JSON.stringify(['POST', '/v1/members', person]);
  /** Runs the statements of release 0.1, as its pods do until they are replaced. */
  async function writeAsRelease01(key: string, person: object, answer = Buffer.from('sealed')): Promise<void> {
    const derived = Buffer.from(hkdfSync('sha256', masterKey, '', 'idempotency', 32));
    const keyHash = createHmac('sha256', derived).update(`anyone\n${key}`).digest();
    const fingerprint = createHash('sha256').update(request(person)).digest();
    const client = new Client(api.system.database.urls.app);
    await client.connect();
    try {
      const { rowCount } = await client.query(
        `with expired as (
           delete from service.idempotency where key_hash in (
             select key_hash from service.idempotency where created_at < now() - interval '24 hours' and key_hash <> $1 limit 10 for update skip locked)
         )
         insert into service.idempotency as i (key_hash, fingerprint) values ($1, $2)
         on conflict (key_hash) do update set fingerprint = excluded.fingerprint, answer = null, created_at = now()
           where i.created_at < now() - interval '24 hours'
         returning key_hash`,
        [keyHash, fingerprint],
      );
      expect(rowCount).toBe(1);
      await client.query('update service.idempotency set answer = $1 where key_hash = $2', [answer, keyHash]);
    } finally {
      await client.end();
    }
  }
  const fingerprints = async () => (await rows()).map(({ fingerprint }) => fingerprint.length);

  test('can be written on the current schema, and is deleted by the next cleanup', async () => {
    await writeAsRelease01(newKey(), { ...aPerson(), password: PASSWORD });
    await register({ ...aPerson(), password: PASSWORD }, newKey());
    using _ = new Idempotency(masterKey).startCleanup(api.system.em(), { warn: () => undefined }, 20);
    await eventually(async () => expect(await fingerprints()).toEqual([64]));
  });

  test('is ignored by a repeat: the request runs, and later repeats get its answer', async () => {
    const [key, person] = [newKey(), { ...aPerson(), password: PASSWORD }];
    await writeAsRelease01(key, person);
    const first = await register(person, key);
    expect(first).toMatchObject({ status: 201 });
    expect(await fingerprints()).toEqual([64]);
    expect((await register(person, key)).body).toEqual(first.body);
  });

  test('is deleted by the migration, also for a repeated registration', async () => {
    const [key, person] = [newKey(), { ...aPerson(), password: PASSWORD }];
    await api.call('POST', '/v1/members', { body: person });
    await onPreviousSchema(() => writeAsRelease01(key, person));
    expect(await rows()).toEqual([]);
    expect(await register(person, key)).toMatchObject(problem('email-taken', 409));
  });

  /** Reverts the last migration of these tables, runs `work`, and applies the migration again. */
  async function onPreviousSchema(work: () => Promise<unknown>): Promise<void> {
    const { class: Last } = idempotencyMigrations({ roles: 'member' }).at(-1)!;
    const migrate = async (direction: 'up' | 'down') => {
      const migration = new Last(undefined as never, undefined as never);
      migration[direction]();
      for (const query of migration.getQueries()) await api.system.database.sql(`${query}`);
    };
    await migrate('down');
    try {
      await work();
    } finally {
      await migrate('up');
    }
  }

  test('may be on a schema without subjects, on which this release answers and withdraws', async () => {
    const [key, person] = [newKey(), { ...aPerson(), password: PASSWORD }];
    await onPreviousSchema(async () => {
      const first = await register(person, key);
      expect((await register(person, key)).body).toEqual(first.body);
      const { body } = await logIn(person.email, newKey());
      const withdrawn = await api.call('DELETE', `/v1/members/${first.body.id}`, { token: body.token });
      expect(withdrawn).toMatchObject({ status: 204 });
    });
  });
});
