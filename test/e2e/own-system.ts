import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api } from '../../local/demo/api.ts';
import type { Running } from '../../local/supervisor/running.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith, type TestStack } from '../support/stack.ts';
import { countUnacknowledged } from './broker.ts';
import { deliveryTotals, expectInvariants } from './invariants.ts';

export interface Person {
  readonly id: string;
  readonly email: string;
  readonly password: string;
}

/** Starts a complete system for the tests of one file. Before each test, all processes are running again. */
export function ownSystem(env: Record<string, string> = {}) {
  let stack: TestStack;
  let running: Running;
  let database: Client;

  const superuserUrl = () => Object.assign(new URL(running.databases.superuser), { pathname: '/member' }).href;
  const connectToDatabase = async (): Promise<void> => {
    database = new Client({ connectionString: superuserUrl() });
    database.on('error', () => undefined);
    await database.connect();
  };
  const processes = async () => (await stack.running()).processes;

  beforeAll(async () => {
    stack = await startStackWith({ env });
    running = await stack.running();
    await connectToDatabase();
  });
  afterAll(async () => {
    await database?.end().catch(() => undefined);
    await stack?.[Symbol.asyncDispose]();
  });
  beforeEach(() =>
    eventually(async () => {
      for (const [name, { state }] of Object.entries(await processes()))
        expect([name, state]).toEqual([name, 'running']);
    }),
  );

  const sql = async (statement: string, ...params: unknown[]) => (await database.query(statement, params)).rows;

  return {
    /** URLs, credentials and the first processes; `processes` returns the current ones. */
    running: () => running,
    processes,
    /** Superuser's URL of the member database. */
    superuserUrl,
    connectToDatabase,
    disconnectFromDatabase: () => database.end(),
    sql,

    async count(table: string, condition: string, ...params: unknown[]): Promise<number> {
      return (await sql(`select count(*)::int as n from ${table} where ${condition}`, ...params))[0].n;
    },

    async control(verb: 'kill' | 'stop' | 'cont' | 'restart', name: string): Promise<void> {
      expect(await stack.script('stack.ts', verb, name)).toMatchObject({ code: 0 });
    },

    operator: () => new Api(running.memberOperationsUrl, running.memberOperatorToken),

    async register(): Promise<Person> {
      const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Anna' };
      const { id } = await new Api(running.memberUrl).post('/v1/members', person);
      return { ...person, id };
    },

    /** @param deviceId (default: a new device) */
    logIn: ({ email, password }: Person, deviceId: string = randomUUID()): Promise<{ number: number; token: string }> =>
      new Api(running.memberUrl).post('/v1/sessions', {
        email,
        password,
        device: { id: deviceId, name: 'phone', os: 'any' },
      }),

    expectInvariants: async () => expectInvariants(await stack.running()),

    /** Waits until all deliveries are acknowledged, then checks the invariants and that no attempt was spent. */
    async expectSettled(): Promise<void> {
      await eventually(async () => expect(await countUnacknowledged(running.brokerUrl)).toBe(0));
      await expectInvariants(await stack.running());
      expect(await deliveryTotals(running)).toEqual({ attempts: 0, waiting: 0 });
    },
  };
}
