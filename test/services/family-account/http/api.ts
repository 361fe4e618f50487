import { randomBytes } from 'node:crypto';
import { v7 as uuid } from 'uuid';
import { daprSubscriptions } from '#eventing/dapr-subscriptions';
import { Inbox } from '#eventing/inbox';
import { Receiver } from '#eventing/receiver';
import type { Api } from '#http/http';
import { Idempotency } from '#http/idempotency';
import { Health } from '#process/health';
import { createLog } from '#process/log';
import { familyAccountApi } from '../../../../services/family-account/api.ts';
import { eventsIn } from '../../../../services/family-account/events-in.ts';
import type { MemberSystem } from '../../../../services/family-account/member-system.ts';
import { type Call, caller } from '../../../support/call.ts';
import { openAll, SIDECAR } from '../../../support/listeners.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from '../support.ts';

export const OPERATOR = 'operator-token-0123456789';

/** Returns a new token of the form that the member API issues. */
export const newToken = () => randomBytes(32).toString('base64url');

export interface FamilyAccountApi extends AsyncDisposable {
  readonly system: FamilyAccountSystem;
  readonly app: Api;
  readonly url: string;
  readonly call: Call;
  /** Returns a new member with a session at the fake member system. */
  createMember(): { id: string; token: string };
}

/** Starts the family-account API on free ports, over real HTTP. */
export async function startFamilyAccountApi(
  member?: MemberSystem,
  { trustProxy = false } = {},
): Promise<FamilyAccountApi> {
  const system = await openFamilyAccountSystem();
  const { orm, keyring } = system;
  const log = createLog('test', 'fatal');
  const dependencies = { orm, keyring, member: member ?? system.member };
  const topics = eventsIn(dependencies);
  const app = familyAccountApi({
    ...dependencies,
    trustProxy,
    operatorToken: OPERATOR,
    idempotency: new Idempotency(Buffer.alloc(32, 7)),
    health: new Health({}),
    log,
    appToken: SIDECAR,
    deliveries: daprSubscriptions({
      topics: Object.keys(topics),
      receiver: new Receiver({
        orm,
        appId: 'family-account',
        topics,
        inbox: new Inbox(orm, { ownSource: '/family-account', log }),
        log,
      }),
      log,
    }),
  });
  const opened = await openAll(app);
  return {
    system,
    app,
    url: opened.urls.public,
    call: caller(opened.urls, { [OPERATOR]: 'operations' }),
    createMember() {
      const [id, token] = [uuid(), newToken()];
      system.member.sessions.set(token, { memberId: id, sessionNumber: '1' });
      return { id, token };
    },
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await system[Symbol.asyncDispose]();
    },
  };
}

export { problem } from '../../../support/call.ts';
export { SIDECAR } from '../../../support/listeners.ts';
