import type { AddressInfo } from 'node:net';
import type Koa from 'koa';
import { v7 as uuid } from 'uuid';
import { daprSubscriptions } from '#eventing/dapr-subscriptions';
import { Inbox } from '#eventing/inbox';
import { keepUnreadable } from '#eventing/kept-deliveries';
import { Health } from '#service/health';
import { Idempotency } from '#service/idempotency';
import { createLog } from '#service/log';
import { listen } from '#service/run';
import { familyAccountApi } from '../../../../services/family-account/api.ts';
import { eventsIn } from '../../../../services/family-account/events-in.ts';
import type { MemberSystem } from '../../../../services/family-account/member-system.ts';
import { type Call, caller } from '../../../support/call.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

export const OPERATOR = 'operator-token-0123456789';
export const SIDECAR = 'sidecar-token-0123456789';

export interface FamilyAccountApi extends AsyncDisposable {
  readonly system: FamilyAccountSystem;
  readonly app: Koa;
  readonly call: Call;
  /** Somebody with a session at the member system of the test. */
  somebody(): { id: string; token: string };
}

/** The family-account API on a free port, over real HTTP. */
export async function startFamilyAccountApi(member?: MemberSystem): Promise<FamilyAccountApi> {
  const system = await openFamilyAccountSystem();
  const { orm, keyring } = system;
  const log = createLog('test', 'fatal');
  const neighbours = { orm, keyring, member: member ?? system.member };
  const app = familyAccountApi({
    ...neighbours,
    operatorToken: OPERATOR,
    idempotency: new Idempotency(Buffer.alloc(32, 7)),
    health: new Health({}),
    log,
    before: daprSubscriptions({
      appId: 'family-account',
      appToken: SIDECAR,
      topics: eventsIn(neighbours),
      inbox: new Inbox(orm, { log }),
      keepUnreadable: (raw, error) => keepUnreadable(orm, 'family-account', raw, error),
      log,
    }),
  });
  const server = await listen(app, { port: 0, host: '127.0.0.1' });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    system,
    app,
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
