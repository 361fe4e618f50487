import type { AddressInfo } from 'node:net';
import { v7 as uuid } from 'uuid';
import { Health } from '#service/health';
import { Idempotency } from '#service/idempotency';
import { createLog } from '#service/log';
import { listen } from '#service/run';
import { familyAccountApi } from '../../../../services/family-account/api.ts';
import type { MemberSystem } from '../../../../services/family-account/member-system.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

export const OPERATOR = 'operator-token-0123456789';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers
  readonly body: any;
}

export interface FamilyAccountApi extends AsyncDisposable {
  readonly system: FamilyAccountSystem;
  /** @param body an object is sent as JSON, text as it is */
  call(method: string, path: string, options?: { token?: string; body?: unknown; key?: string }): Promise<Answer>;
  /** Somebody with a session at the member system of the test. */
  somebody(): { id: string; token: string };
}

/** The family-account API on a free port, over real HTTP. */
export async function startFamilyAccountApi(member?: MemberSystem): Promise<FamilyAccountApi> {
  const system = await openFamilyAccountSystem();
  const app = familyAccountApi({
    orm: system.orm,
    keyring: system.keyring,
    member: member ?? system.member,
    operatorToken: OPERATOR,
    idempotency: new Idempotency(Buffer.alloc(32, 7)),
    health: new Health({}),
    log: createLog('test', 'fatal'),
  });
  const server = await listen(app, { port: 0, host: '127.0.0.1' });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    system,
    async call(method, path, { token, body, key } = {}) {
      const response = await fetch(url + path, {
        method,
        headers: {
          ...(key && { 'idempotency-key': key }),
          ...(token && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        body: typeof body === 'object' ? JSON.stringify(body) : (body as string | undefined),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
    },
    somebody() {
      const [id, token] = [uuid(), `session-of-${uuid()}`];
      system.member.sessions.set(token, { memberId: id, sessionNumber: '1' });
      return { id, token };
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await system[Symbol.asyncDispose]();
    },
  };
}

/** What an answer matches that is the problem `slug`. */
export const problem = (slug: string, status: number) => ({ status, body: expect.objectContaining({ slug, status }) });
