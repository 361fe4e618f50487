import type { AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import type Koa from 'koa';
import { DomainError } from '#service/errors';
import { Health } from '#service/health';
import { Idempotency } from '#service/idempotency';
import { createLog } from '#service/log';
import { listen } from '#service/run';
import { memberApi } from '../../../../services/member/api.ts';
import { identityHasher } from '../../../../services/member/identities.ts';
import type { IdentityProvider } from '../../../../services/member/identity-provider.ts';
import { LogInLimits } from '../../../../services/member/log-in-limits.ts';
import { type Call, caller } from '../../../support/call.ts';
import { aPerson, type MemberSystem, masterKey, openMemberSystem, PASSWORD } from '../support.ts';

export const OPERATOR = 'operator-token-0123456789';
export const READER = 'reader-token-0123456789';

/** Somebody who has registered and logged in. */
export interface Somebody {
  readonly id: string;
  readonly email: string;
  readonly token: string;
  readonly number: number;
}

export interface MemberApi extends AsyncDisposable {
  readonly system: MemberSystem;
  readonly url: string;
  readonly app: Koa;
  /** What it logged, as it was written. */
  log(): string;
  readonly call: Call;
  somebody(deviceId?: string): Promise<Somebody>;
}

/** Knows everybody but `unknown`: the verification's id is the person's CI. */
const obliging: IdentityProvider = {
  async find(id) {
    if (id === 'unknown') throw new DomainError('identity-verification-unknown', 'Unknown', 'unprocessable');
    return { ci: id };
  },
};

/** The member API on a free port, over real HTTP, with a provider that answers at once unless told. */
export async function startMemberApi(provider = obliging): Promise<MemberApi> {
  const system = await openMemberSystem();
  let logged = '';
  const sink = new Writable({
    write(line, _, done) {
      logged += line;
      done();
    },
  });
  const app = memberApi({
    orm: system.orm,
    keyring: system.keyring,
    log: createLog('test', 'debug', sink),
    health: new Health({}),
    operatorToken: OPERATOR,
    readerTokens: new Map([['another-system', READER]]),
    limits: new LogInLimits(masterKey),
    idempotency: new Idempotency(masterKey),
    hashIdentity: identityHasher(masterKey),
    provider,
  });
  const server = await listen(app, { port: 0, host: '127.0.0.1' });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const call = caller(url);
  return {
    system,
    url,
    app,
    call,
    log: () => logged,
    async somebody(deviceId = 'a phone') {
      const { email, name } = aPerson();
      const { body: member } = await call('POST', '/v1/members', { body: { email, name, password: PASSWORD } });
      const device = { id: `${deviceId} of ${member.id}`, name: 'a phone', os: 'any' };
      const { body } = await call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device } });
      return { id: member.id, email, token: body.token, number: body.number };
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await system[Symbol.asyncDispose]();
    },
  };
}

export { problem } from '../../../support/call.ts';
