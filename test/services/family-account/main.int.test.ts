import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { v7 as uuid } from 'uuid';
import { eventually } from '../../support/eventually.ts';
import { answerJson, type FakeDaprd, startFakeDaprd } from './daprd.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from './support.ts';

const main = join(import.meta.dirname, '../../../services/family-account/main.ts');
const APP_TOKEN = 'token-of-the-app';

let system: FamilyAccountSystem;
let daprd: FakeDaprd;
beforeAll(async () => {
  system = await openFamilyAccountSystem();
  // A member system in which all members have withdrawn.
  daprd = await startFakeDaprd(({ path }, response) => {
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

async function untilListening(child: ChildProcess): Promise<{ sidecar: string; operations: string }> {
  for await (const line of createInterface({ input: child.stdout! })) {
    const { msg, sidecarPort, operationsPort } = JSON.parse(line);
    const url = (port: number) => `http://127.0.0.1:${port}`;
    if (msg === 'listening') return { sidecar: url(sidecarPort), operations: url(operationsPort) };
  }
  throw new Error('The service exited before it listened');
}

test('The service starts, handles member events and shuts down cleanly', async () => {
  const child = start({
    PORT: '0',
    SIDECAR_PORT: '0',
    OPERATIONS_PORT: '0',
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
    const { sidecar, operations } = await untilListening(child);
    await eventually(async () => expect((await fetch(`${operations}/readyz`)).status).toBe(200));
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
    const delivered = await fetch(`${sidecar}/events/member-external`, {
      method: 'POST',
      headers: { 'content-type': 'application/cloudevents+json', 'dapr-api-token': APP_TOKEN },
      body: JSON.stringify(envelope),
    });
    expect([delivered.status, await delivered.json()]).toEqual([200, { status: 'SUCCESS' }]);
    await eventually(async () => expect((await system.membersOf(id)).memberIds).toEqual([memberIds[0]]));
    const consumers = await system.database.sql('select name, starts from eventing.consumer order by name');
    expect(consumers).toEqual([
      { name: 'external-broadcaster', starts: 'beginning' },
      { name: 'membership', starts: 'beginning' },
    ]);
  } finally {
    child.kill('SIGTERM');
  }
  expect(await exited).toEqual([0, null]);
});

test('The service exits with 1 and lists all missing settings', async () => {
  const child = start({});
  let printed = '';
  child.stderr!.on('data', (chunk) => {
    printed += chunk;
  });
  expect(await once(child, 'close')).toEqual([1, null]);
  for (const name of ['DATABASE_URL', 'MASTER_KEY', 'APP_API_TOKEN', 'OPERATOR_TOKEN', 'MEMBER_READER_TOKEN'])
    expect(printed).toContain(`${name} is not set`);
});
