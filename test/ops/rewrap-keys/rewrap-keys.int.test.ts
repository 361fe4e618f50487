import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { v7 as uuid } from 'uuid';
import { readEnvelope } from '#eventing/cloud-event';
import { ERASED, Keyring } from '#eventing/keyring';
import { rewrapAll } from '../../../ops/rewrap-keys/rewrap-keys.ts';
import { type Fixture, type Lamp, openFixture } from '../../lib/eventing/fixture.ts';
import { eventually } from '../../support/eventually.ts';

// The fixture's master key is OLD.
const OLD = Buffer.alloc(32, 7);
const NEW = Buffer.alloc(32, 8);

let fixture: Fixture;
beforeEach(async () => {
  fixture = await openFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const em = () => fixture.orm.em.fork();

/** Returns a lamp's place, as a keyring decrypts it from the outbox. */
async function placeOf(keyring: Keyring, lamp: Lamp): Promise<unknown> {
  const [{ envelope } = { envelope: undefined }] = await fixture.database.sql<{ envelope: unknown }>(
    'select envelope from eventing.outbox where ordering_key = $1 order by position',
    [lamp.id],
  );
  const event = readEnvelope(envelope);
  return (await keyring.reveal(em(), event, event.data.attributes as Record<string, string>)).place;
}

test('values are readable with both master keys, and after rewrapping with the new one alone', async () => {
  const lamps = [await fixture.install('hall'), await fixture.install('attic')];
  const both = new Keyring([NEW, OLD]);
  await expect(placeOf(new Keyring([NEW]), lamps[0]!)).rejects.toThrow(/None of the given master keys unwraps the key/);
  const between = uuid();
  await em().transactional((tx) => both.keysFor(tx, [between]));
  for (const keyring of [both, new Keyring([OLD, NEW])]) expect(await placeOf(keyring, lamps[1]!)).toBe('attic');

  expect(await rewrapAll(fixture.orm, both)).toBe(2);
  expect(await rewrapAll(fixture.orm, both)).toBe(0);
  const next = new Keyring([NEW]);
  expect(await Promise.all(lamps.map((lamp) => placeOf(next, lamp)))).toEqual(['hall', 'attic']);
  await em().transactional((tx) => next.keysFor(tx, [between]));
  await expect(placeOf(new Keyring([OLD]), lamps[0]!)).rejects.toThrow(/None of the given master keys/);
});

test('a destroyed key stays destroyed', async () => {
  const lamp = await fixture.install('hall');
  lamp.remove();
  await em().persist(lamp).flush();
  const both = new Keyring([NEW, OLD]);
  expect(await rewrapAll(fixture.orm, both)).toBe(0);
  expect(await placeOf(both, lamp)).toBe(ERASED);
});

/** Waits until a connection waits for a lock. */
const waitForLockWait = () =>
  eventually(async () => {
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    expect(await fixture.database.sql(waiting)).toHaveLength(1);
  });

test('a key destroyed during rewrapping stays destroyed', async () => {
  const lamp = await fixture.install('hall');
  const both = new Keyring([NEW, OLD]);
  const erasing = em();
  await erasing.begin();
  await both.destroy(erasing, [lamp.id]);
  const rewrapping = rewrapAll(fixture.orm, both);
  await waitForLockWait();
  await erasing.commit();
  expect(await rewrapping).toBe(0);
  expect(await placeOf(both, lamp)).toBe(ERASED);
});

test('a key created with the old master key during rewrapping is found in another pass', async () => {
  await fixture.install('hall');
  const both = new Keyring([NEW, OLD]);
  const createdMeanwhile = '00000000-0000-4000-8000-000000000001';
  let isCreated = false;
  const interferingKeyring = {
    async rewrap(...args: Parameters<Keyring['rewrap']>) {
      const page = await both.rewrap(...args);
      if (!isCreated) await em().transactional((tx) => new Keyring([OLD]).keysFor(tx, [createdMeanwhile]));
      isCreated = true;
      return page;
    },
  };
  expect(await rewrapAll(fixture.orm, interferingKeyring)).toBe(2);
  expect((await em().transactional((tx) => new Keyring([NEW]).keysFor(tx, [createdMeanwhile]))).size).toBe(1);
});

/** Returns the keys in hexadecimal digits, by the order of their ids. */
async function plain(keyring: Keyring, ids: readonly string[]): Promise<string[]> {
  const keys = await em().transactional((tx) => keyring.keysFor(tx, ids));
  return ids.map((id) => keys.get(id)!.export().toString('hex'));
}

test('several pages of keys are rewrapped while the keys are in use', async () => {
  const old = new Keyring([OLD]);
  const ids = Array.from({ length: 1_200 }, () => uuid());
  const before = await plain(old, ids);
  const both = new Keyring([NEW, OLD]);
  const progress: number[] = [];
  const busy = async () => {
    for (let i = 0; i < 20; i++) await em().transactional((tx) => both.keysFor(tx, ids.slice(i * 50, i * 50 + 70)));
  };
  const [rewrapped] = await Promise.all([rewrapAll(fixture.orm, both, (keys) => progress.push(keys)), busy(), busy()]);
  expect(rewrapped).toBe(1_200);
  expect(progress.at(-1)).toBe(1_200);
  expect(progress.length).toBeGreaterThan(2);
  expect(await plain(new Keyring([NEW]), ids)).toEqual(before);
  expect(new Set(before).size).toBe(1_200);
});

test('the root secret is the same for concurrent replicas and after a change of master key', async () => {
  const keyring = new Keyring([OLD]);
  const first = em();
  await first.begin();
  const root = await keyring.root(first);
  expect(root).toHaveLength(32);
  expect(root).not.toEqual(OLD);
  // Another replica requests it before it is committed.
  const second = keyring.root(em());
  await waitForLockWait();
  await first.commit();
  expect(await second).toEqual(root);
  const both = new Keyring([NEW, OLD]);
  expect(await both.root(em())).toEqual(root);
  await rewrapAll(fixture.orm, both);
  expect(await new Keyring([NEW]).root(em())).toEqual(root);
});

test('the root secret of a system from before its introduction is the master key', async () => {
  await fixture.install();
  expect(await new Keyring([NEW, OLD]).root(em())).toEqual(OLD);
  expect(await new Keyring([OLD]).root(em()).catch(() => 'wrapped with the new one')).toBe('wrapped with the new one');
});

test('the command rewraps all keys and logs it', async () => {
  const lamp = await fixture.install('hall');
  const env = {
    ...process.env,
    DATABASE_URL: fixture.database.urls.app,
    MASTER_KEY: [NEW, OLD].map((key) => key.toString('base64')).join(),
  };
  const main = join(import.meta.dirname, '../../../ops/rewrap-keys/main.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [main], { env });
  expect(stdout).toMatch(/"keys":1,.*done: all keys are wrapped with the first master key/);
  expect(await placeOf(new Keyring([NEW]), lamp)).toBe('hall');
});

test.each<[string, Buffer[]]>([
  ['no master key', []],
  ['a master key of 31 bytes', [Buffer.alloc(31)]],
  ['a second master key of 33 bytes', [NEW, Buffer.alloc(33)]],
])('a keyring with %s is rejected', (_, masters) => {
  expect(() => new Keyring(masters)).toThrow(/master key/);
});
