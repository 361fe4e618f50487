import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { v7 as uuid } from 'uuid';
import { eventually } from '../../support/eventually.ts';
import { answerJson, type StandIn, standInForDaprd } from './daprd.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from './support.ts';

const main = join(import.meta.dirname, '../../../services/family-account/main.ts');
const APP_TOKEN = 'what-the-sidecar-shows';

let system: FamilyAccountSystem;
let daprd: StandIn;
beforeAll(async () => {
  system = await openFamilyAccountSystem();
  // A member system in which everybody has withdrawn.
  daprd = await standInForDaprd(({ path }, response) => {
    answerJson(response, 200, { id: path.split('/').at(-1), status: 'WITHDRAWN' });
  });
});
afterAll(async () => {
  await daprd[Symbol.asyncDispose]();
  await system[Symbol.asyncDispose]();
});

function start(env: Record<string, string>): ChildProcess {
  return spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function untilListening(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) {
    const { msg, port } = JSON.parse(line);
    if (msg === 'listening') return `http://127.0.0.1:${port}`;
  }
  throw new Error('It ended before it listened');
}

test('The service starts, hears what happens to members, and stops in order', async () => {
  const child = start({
    PORT: '0',
    DATABASE_URL: system.database.urls.app,
    DAPR_HTTP_PORT: String(daprd.port),
    DAPR_API_TOKEN: 'token-of-the-sidecar',
    APP_API_TOKEN: APP_TOKEN,
    MASTER_KEY: Buffer.alloc(32, 7).toString('base64'),
    OPERATOR_TOKEN: 'operator-token-0123456789',
    MEMBER_READER_TOKEN: 'reader-token-0123456789',
  });
  const exited = once(child, 'exit');
  try {
    const url = await untilListening(child);
    await eventually(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200));
    const { id, memberIds } = await system.family(1);
    const envelope = {
      specversion: '1.0',
      id: uuid(),
      eventid: uuid(),
      type: 'member.withdrawn',
      source: '/member',
      subject: memberIds[1],
      sequence: '0000000001',
      time: '2026-07-01T09:00:00.000Z',
      data: {
        memberId: memberIds[1],
        eventType: 'member.withdrawn',
        attributeTypes: ['status'],
        occurredAt: '2026-07-01T09:00:00.000Z',
      },
    };
    const delivered = await fetch(`${url}/events/member-external`, {
      method: 'POST',
      headers: { 'content-type': 'application/cloudevents+json', 'dapr-api-token': APP_TOKEN },
      body: JSON.stringify(envelope),
    });
    expect([delivered.status, await delivered.json()]).toEqual([200, { status: 'SUCCESS' }]);
    await eventually(async () => expect((await system.membersOf(id)).memberIds).toEqual([memberIds[0]]));
    const joined = await system.database.sql('select name, starts from eventing.consumer order by name');
    expect(joined).toEqual([
      { name: 'external-broadcaster', starts: 'beginning' },
      { name: 'membership', starts: 'beginning' },
    ]);
  } finally {
    child.kill('SIGTERM');
  }
  expect(await exited).toEqual([0, null]);
});

test('The service names everything that it has not been told', async () => {
  const child = start({});
  let told = '';
  child.stderr!.on('data', (chunk) => {
    told += chunk;
  });
  expect(await once(child, 'close')).toEqual([1, null]);
  for (const name of ['DATABASE_URL', 'MASTER_KEY', 'APP_API_TOKEN', 'OPERATOR_TOKEN', 'MEMBER_READER_TOKEN'])
    expect(told).toContain(`${name} is not set`);
});
