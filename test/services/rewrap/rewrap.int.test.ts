import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { v7 as uuid } from 'uuid';
import { readEnvelope } from '#eventing/cloud-event';
import { ERASED, Keyring } from '#eventing/keyring';
import { rewrapAll } from '../../../services/rewrap/rewrap.ts';
import { type Lab, type Lamp, openLab } from '../../lib/eventing/lab.ts';
import { eventually } from '../../support/eventually.ts';

// The lab's own master key is OLD.
const OLD = Buffer.alloc(32, 7);
const NEW = Buffer.alloc(32, 8);

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(() => lab[Symbol.asyncDispose]());

const em = () => lab.orm.em.fork();

/** What a keyring reads of where a lamp was installed. */
async function placeOf(keyring: Keyring, lamp: Lamp): Promise<unknown> {
  const [{ envelope } = { envelope: undefined }] = await lab.database.sql<{ envelope: unknown }>(
    'select envelope from eventing.outbox where ordering_key = $1 order by position',
    [lamp.id],
  );
  const event = readEnvelope(envelope);
  return (await keyring.reveal(em(), event, event.data.attributes as Record<string, string>)).place;
}

test('while one master key follows another, values are read whichever has wrapped their key; after rewrapping the new one will do', async () => {
  const lamps = [await lab.install('hall'), await lab.install('attic')];
  const both = new Keyring([NEW, OLD]);
  await expect(placeOf(new Keyring([NEW]), lamps[0]!)).rejects.toThrow(/wrapped with none of the master keys/);
  const between = uuid();
  await em().transactional((tx) => both.keysFor(tx, [between]));
  for (const keyring of [both, new Keyring([OLD, NEW])]) expect(await placeOf(keyring, lamps[1]!)).toBe('attic');

  expect(await rewrapAll(lab.orm, both)).toBe(2);
  expect(await rewrapAll(lab.orm, both)).toBe(0);
  const next = new Keyring([NEW]);
  expect(await Promise.all(lamps.map((lamp) => placeOf(next, lamp)))).toEqual(['hall', 'attic']);
  await em().transactional((tx) => next.keysFor(tx, [between]));
  await expect(placeOf(new Keyring([OLD]), lamps[0]!)).rejects.toThrow(/none of the master keys/);
});

test('a destroyed key stays destroyed', async () => {
  const lamp = await lab.install('hall');
  lamp.remove();
  await em().persist(lamp).flush();
  const both = new Keyring([NEW, OLD]);
  expect(await rewrapAll(lab.orm, both)).toBe(0);
  expect(await placeOf(both, lamp)).toBe(ERASED);
});

/** Until somebody waits for a lock. */
const somebodyWaits = () =>
  eventually(async () => {
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    expect(await lab.database.sql(waiting)).toHaveLength(1);
  });

test('a key that is destroyed while it is rewrapped stays destroyed', async () => {
  const lamp = await lab.install('hall');
  const both = new Keyring([NEW, OLD]);
  const erasing = em();
  await erasing.begin();
  await both.destroy(erasing, [lamp.id]);
  const rewrapping = rewrapAll(lab.orm, both);
  await somebodyWaits();
  await erasing.commit();
  expect(await rewrapping).toBe(0);
  expect(await placeOf(both, lamp)).toBe(ERASED);
});

test('a key that an app makes behind its back with the old master key is found in another pass', async () => {
  await lab.install('hall');
  const both = new Keyring([NEW, OLD]);
  const behind = '00000000-0000-4000-8000-000000000001';
  let isMade = false;
  const beside = {
    async rewrap(...args: Parameters<Keyring['rewrap']>) {
      const page = await both.rewrap(...args);
      if (!isMade) await em().transactional((tx) => new Keyring([OLD]).keysFor(tx, [behind]));
      isMade = true;
      return page;
    },
  };
  expect(await rewrapAll(lab.orm, beside)).toBe(2);
  expect((await em().transactional((tx) => new Keyring([NEW]).keysFor(tx, [behind]))).size).toBe(1);
});

test('more than a page is rewrapped to its end, beside those who use the keys', async () => {
  const old = new Keyring([OLD]);
  const ids = Array.from({ length: 1_200 }, () => uuid());
  const before = await em().transactional((tx) => old.keysFor(tx, ids));
  const both = new Keyring([NEW, OLD]);
  const told: number[] = [];
  const busy = async () => {
    for (let i = 0; i < 20; i++) await em().transactional((tx) => both.keysFor(tx, ids.slice(i * 50, i * 50 + 70)));
  };
  const [rewrapped] = await Promise.all([rewrapAll(lab.orm, both, (keys) => told.push(keys)), busy(), busy()]);
  expect(rewrapped).toBe(1_200);
  expect(told.at(-1)).toBe(1_200);
  expect(told.length).toBeGreaterThan(2);
  expect(await em().transactional((tx) => new Keyring([NEW]).keysFor(tx, ids))).toEqual(before);
});

test('the system’s own secret stays the same, whoever asks first and whichever master key comes', async () => {
  const keyring = new Keyring([OLD]);
  const first = em();
  await first.begin();
  const root = await keyring.root(first);
  expect(root).toHaveLength(32);
  expect(root).not.toEqual(OLD);
  // Another replica asks before it is there to be seen.
  const second = keyring.root(em());
  await somebodyWaits();
  await first.commit();
  expect(await second).toEqual(root);
  const both = new Keyring([NEW, OLD]);
  expect(await both.root(em())).toEqual(root);
  await rewrapAll(lab.orm, both);
  expect(await new Keyring([NEW]).root(em())).toEqual(root);
});

test('in a system that is older than it, it is what everything was derived from before: the master key', async () => {
  await lab.install();
  expect(await new Keyring([NEW, OLD]).root(em())).toEqual(OLD);
  expect(await new Keyring([OLD]).root(em()).catch(() => 'wrapped with the new one')).toBe('wrapped with the new one');
});

test('the command rewraps what there is, and says so', async () => {
  const lamp = await lab.install('hall');
  const env = {
    ...process.env,
    DATABASE_URL: lab.database.urls.app,
    MASTER_KEY: [NEW, OLD].map((key) => key.toString('base64')).join(),
  };
  const main = join(import.meta.dirname, '../../../services/rewrap/main.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [main], { env });
  expect(stdout).toMatch(/"keys":1,.*done: all keys are wrapped with the first master key/);
  expect(await placeOf(new Keyring([NEW]), lamp)).toBe('hall');
});

test.each([[[]], [[Buffer.alloc(31)]], [[NEW, Buffer.alloc(33)]]])('%j are no master keys', (masters) => {
  expect(() => new Keyring(masters)).toThrow(/master key/);
});
