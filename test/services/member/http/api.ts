import { Writable } from 'node:stream';
import type { Api } from '#http/http';
import { Idempotency } from '#http/idempotency';
import { DomainError } from '#process/errors';
import { Health } from '#process/health';
import { createLog } from '#process/log';
import { memberApi } from '../../../../services/member/api.ts';
import { identityHasher } from '../../../../services/member/identity-hash.ts';
import type { IdentityProvider } from '../../../../services/member/identity-provider.ts';
import { LoginThrottle } from '../../../../services/member/login-throttle.ts';
import { type Call, caller } from '../../../support/call.ts';
import { openAll, SIDECAR } from '../../../support/listeners.ts';
import { aPerson, type MemberSystem, masterKey, openMemberSystem, PASSWORD } from '../support.ts';

export const OPERATOR = 'operator-token-0123456789';
export const READER = 'reader-token-0123456789';

/** A member that has registered and logged in. */
export interface LoggedInMember {
  readonly id: string;
  readonly email: string;
  readonly token: string;
  readonly number: number;
}

export interface MemberApi extends AsyncDisposable {
  readonly system: MemberSystem;
  /** Base URL of the public listener. */
  readonly url: string;
  readonly app: Api;
  /** Returns the log, as it was written. */
  log(): string;
  readonly call: Call;
  /** Registers a member and logs it in. */
  createMember(deviceId?: string): Promise<LoggedInMember>;
}

/** Knows every verification but `unknown`; the verification's id is the person's CI. */
const acceptingProvider: IdentityProvider = {
  async find(id) {
    if (id === 'unknown') throw new DomainError('identity-verification-unknown', 'Unknown', 'unprocessable');
    return { ci: id };
  },
};

/**
 * Starts the member API on free ports, over real HTTP.
 * @param provider identity provider (default: one that verifies at once)
 */
export async function startMemberApi(provider = acceptingProvider, { trustProxy = false } = {}): Promise<MemberApi> {
  const system = await openMemberSystem();
  let logged = '';
  const logStream = new Writable({
    write(line, _, done) {
      logged += line;
      done();
    },
  });
  const app = memberApi({
    orm: system.orm,
    keyring: system.keyring,
    log: createLog('test', 'debug', logStream),
    health: new Health({}),
    appToken: SIDECAR,
    operatorToken: OPERATOR,
    readerTokens: new Map([['another-system', READER]]),
    limits: new LoginThrottle(masterKey),
    idempotency: new Idempotency(masterKey),
    hashIdentity: identityHasher(masterKey),
    provider,
    trustProxy,
  });
  const opened = await openAll(app);
  const call = caller(opened.urls, { [OPERATOR]: 'operations', [READER]: 'sidecar' });
  return {
    system,
    url: opened.urls.public,
    app,
    call,
    log: () => logged,
    async createMember(deviceId = 'a phone') {
      const { email, name } = aPerson();
      const { body: member } = await call('POST', '/v1/members', { body: { email, name, password: PASSWORD } });
      const device = { id: `${deviceId} of ${member.id}`, name: 'a phone', os: 'any' };
      const { body } = await call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device } });
      return { id: member.id, email, token: body.token, number: body.number };
    },
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await system[Symbol.asyncDispose]();
    },
  };
}

export { problem } from '../../../support/call.ts';
