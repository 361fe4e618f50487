import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api } from '../../local/api.ts';
import type { Running } from '../../local/running.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith, type TestStack } from '../support/stack.ts';
import { unacknowledged } from './broker.ts';
import { deliveries, invariants } from './invariants.ts';

export interface Person {
  readonly id: string;
  readonly email: string;
  readonly password: string;
}

/**
 * A whole system for the tests of one file, with what they do to it and look up in it. What a test has killed is back before the next one
 * begins.
 */
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
  }, 130_000);
  afterAll(async () => {
    await database?.end().catch(() => undefined);
    await stack?.[Symbol.asyncDispose]();
  }, 60_000);
  beforeEach(() =>
    eventually(
      async () => {
        for (const [name, { state }] of Object.entries(await processes()))
          expect([name, state]).toEqual([name, 'running']);
      },
      { timeoutMs: 30_000 },
    ),
  );

  const sql = async (statement: string, ...params: unknown[]) => (await database.query(statement, params)).rows;

  return {
    /** Where everything is; of the processes, those that were there first. */
    running: () => running,
    processes,
    /** Of the member system's database. */
    superuserUrl,
    connectToDatabase,
    disconnectFromDatabase: () => database.end(),
    sql,

    async count(table: string, condition: string, ...params: unknown[]): Promise<number> {
      return (await sql(`select count(*)::int as n from ${table} where ${condition}`, ...params))[0].n;
    },

    async act(verb: 'kill' | 'stop' | 'cont' | 'restart', name: string): Promise<void> {
      expect(await stack.script('stack.ts', verb, name)).toMatchObject({ code: 0 });
    },

    operator: () => new Api(running.memberUrl, running.memberOperatorToken),

    async register(): Promise<Person> {
      const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Somebody' };
      const { id } = await new Api(running.memberUrl).post('/v1/members', person);
      return { ...person, id };
    },

    /** On a device that nobody else uses, unless told which. */
    logIn: ({ email, password }: Person, deviceId: string = randomUUID()): Promise<{ number: number; token: string }> =>
      new Api(running.memberUrl).post('/v1/sessions', {
        email,
        password,
        device: { id: deviceId, name: 'phone', os: 'any' },
      }),

    invariants: async () => invariants(await stack.running()),

    /** Everything arrives, what was in somebody's hands a second time included, and no attempt was spent. */
    async allIsWell(): Promise<void> {
      await eventually(async () => expect(await unacknowledged(running.brokerUrl)).toBe(0), { timeoutMs: 40_000 });
      await invariants(await stack.running());
      expect(await deliveries(running)).toEqual({ attempts: 0, waiting: 0 });
    },
  };
}
