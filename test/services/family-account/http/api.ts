import type { AddressInfo } from 'node:net';
import { v7 as uuid } from 'uuid';
import { Health } from '#service/health';
import { Idempotency } from '#service/idempotency';
import { createLog } from '#service/log';
import { listen } from '#service/run';
import { familyAccountApi } from '../../../../services/family-account/api.ts';
import type { MemberSystem } from '../../../../services/family-account/member-system.ts';
import { type Call, caller } from '../../../support/call.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

export const OPERATOR = 'operator-token-0123456789';

export interface FamilyAccountApi extends AsyncDisposable {
  readonly system: FamilyAccountSystem;
  readonly call: Call;
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
    call: caller(url),
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

export { problem } from '../../../support/call.ts';
