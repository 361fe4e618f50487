import { CommunicationProtocolEnum, DaprClient, HttpMethod, LogLevel } from '@dapr/dapr';
import { z } from 'zod';
import { provenance } from '#eventing/provenance';
import { POSITION } from '#eventing/republish';
import { MEMBER_EVENT_SOURCE } from '#member/contract';
import { DependencyUnavailable } from '#service/errors';
import { RetryableError, retry } from '#service/retry';
import type { MemberSystem } from './member-system.ts';
import { system } from './system.ts';

export interface MemberClientOptions {
  readonly daprPort: number;
  readonly daprApiToken: string;
  /** Dapr app-id of the member API. */
  readonly appId: string;
  /** Reads a member's newest state. */
  readonly readerToken: string;
  /** How long an answer is waited for, all tries together; milliseconds. A caller of ours waits meanwhile. */
  readonly timeoutMs?: number;
  /** Calls under way at once; more fail at once. The SDK cannot abort a call, so those that nobody waits for any more count too. */
  readonly maxCalls?: number;
}

// What is read of the answers; they hold more, and may come to hold more still.
const member = z.discriminatedUnion('status', [
  z.object({ id: z.uuid(), status: z.literal('WITHDRAWN') }),
  z.object({
    id: z.uuid(),
    status: z.literal('ACTIVE'),
    identityVerification: z.object({ status: z.enum(['NONE', 'VERIFIED']) }),
  }),
]);
const republished = z.object({ events: z.int() });
const position = z.object({ eventId: z.uuid(), aggregateId: z.uuid(), sequence: z.int() });
const publishedPage = z.object({
  events: z.array(position.extend({ type: z.string(), position: z.string().regex(POSITION) })),
  // It is kept, and asked with from then on.
  next: z.string().regex(POSITION),
});
const canary = z.object({ id: z.uuid() });
const canaryWay = z.object({
  hops: z.array(z.object({ name: z.string(), at: z.string().nullable(), trouble: z.string().nullable() })),
});
const session = z.object({ memberId: z.uuid(), number: z.int() });

/** The member API, asked through Dapr's service invocation. */
export function memberClient(options: MemberClientOptions): MemberSystem & AsyncDisposable {
  const invoke = invoker(options);
  return {
    async standingOf(memberId) {
      const answer = await invoke(`v1/members/${encodeURIComponent(memberId)}`, options.readerToken);
      if (answer.refusal === 'member-not-found') return 'NOT_VERIFIED';
      const found = read(member, answer);
      if (found.id !== memberId) throw unavailable(new Error('The member API answered another member'));
      if (found.status === 'WITHDRAWN') return 'WITHDRAWN';
      return found.identityVerification.status === 'VERIFIED' ? 'VERIFIED' : 'NOT_VERIFIED';
    },
    async sessionOf(token) {
      const answer = await invoke('v1/sessions/current', token);
      // Forbidden: a credential that the member API knows, and that is no member's.
      if (answer.refusal === 'unauthenticated' || answer.refusal === 'forbidden') return undefined;
      const { memberId, number } = read(session, answer);
      return { memberId, sessionNumber: String(number) };
    },
    publisherOf(topic) {
      const path = `v1/topics/${encodeURIComponent(topic)}`;
      return {
        async latest() {
          const answer = await invoke(`${path}/latest-event`, options.readerToken);
          if (answer.refusal === 'nothing-published') return undefined;
          return { source: MEMBER_EVENT_SOURCE, ...read(position, answer) };
        },
        async published(range) {
          const query = new URLSearchParams(
            Object.entries(range)
              .flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`] as const]))
              .map(([name, value]): [string, string] => [name, value]),
          );
          return read(publishedPage, await invoke(`${path}/published-events?${query}`, options.readerToken));
        },
        async republish(eventIds) {
          const answer = await invoke(`${path}/republish`, options.readerToken, { eventIds, target: system.name });
          return read(republished, answer).events;
        },
      };
    },
    async sendCanary() {
      return read(canary, await invoke('v1/canaries/member', options.readerToken, {})).id;
    },
    async followCanary(id) {
      const answer = await invoke(`v1/canaries/member/${encodeURIComponent(id)}`, options.readerToken);
      if (answer.refusal === 'canary-not-found') return undefined;
      return read(canaryWay, answer).hops;
    },
    [Symbol.asyncDispose]: () => invoke.client.stop(),
  };
}

/** What the member API answered: a body, or the slug of its refusal. */
type MemberAnswer = { body: unknown; refusal?: undefined } | { refusal: string };

function invoker({ daprPort, daprApiToken, appId, timeoutMs = 3_000, maxCalls = 200 }: MemberClientOptions) {
  const client = new DaprClient({
    daprHost: '127.0.0.1',
    daprPort: String(daprPort),
    daprApiToken,
    communicationProtocol: CommunicationProtocolEnum.HTTP,
    // At debug level it writes the headers of each call, tokens and all.
    logger: { level: LogLevel.Error },
  });
  let calls = 0;
  const ask = async (
    path: string,
    token: string,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<MemberAnswer> => {
    if (calls >= maxCalls) throw new Error(`${calls} calls are under way`);
    const headers = { authorization: `Bearer ${token}`, traceparent: provenance().traceparent };
    calls += 1;
    const method = body ? HttpMethod.POST : HttpMethod.GET;
    const call = client.invoker.invoke(appId, path, method, body, { headers }).finally(() => {
      calls -= 1;
    });
    try {
      return { body: await Promise.race([call, aborted(signal)]) };
    } catch (error) {
      const refusal = refusalIn(error);
      if (refusal === undefined) throw new RetryableError('no answer of the member API', { cause: error });
      return { refusal };
    }
  };
  // What is asked may be done twice, so it is asked again when the call was lost on the way: a sidecar whose neighbour is just being replaced
  // may take seconds to find its successor, and the next call finds it at once.
  const patience = { tryMs: timeoutMs * 0.4, totalMs: timeoutMs, tries: 3, backoffMs: 100 };
  const invoke = (path: string, token: string, body?: object): Promise<MemberAnswer> =>
    retry((signal) => ask(path, token, body, signal), patience).catch((error: unknown) => {
      throw unavailable(error);
    });
  return Object.assign(invoke, { client });
}

/** The SDK has no time-out, and waits half a minute for a sidecar that is not there. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

// The SDK throws every answer but 2xx as an Error whose message is JSON: {"error": reason phrase, "error_msg": body, "status": number}.
const failedInvocation = z.object({ status: z.int(), error_msg: z.string() });
const problem = z.object({ slug: z.string() });

/**
 * The slug of the member API's own refusal; undefined for a failure on the way. Status codes do not tell the two apart: daprd answers
 * 401 when it does not know *us*, and 404, with `errorCode` and without a slug, when it cannot find where to go.
 */
function refusalIn(error: unknown): string | undefined {
  try {
    const { error_msg, status } = failedInvocation.parse(JSON.parse((error as Error).message));
    return status < 500 ? problem.parse(JSON.parse(error_msg)).slug : undefined;
  } catch {
    return undefined;
  }
}

/** @throws DependencyUnavailable for any refusal that is not expected here (our credential is not known, there is no such route, ...) */
function read<T>(schema: z.ZodType<T>, answer: MemberAnswer): T {
  if (answer.refusal !== undefined) throw unavailable(new Error(`The member API refused: ${answer.refusal}`));
  const { success, data, error } = schema.safeParse(answer.body);
  if (!success) throw unavailable(new Error('The member API answered something else', { cause: error }));
  return data;
}

function unavailable(cause: unknown): DependencyUnavailable {
  return new DependencyUnavailable('member-api-unavailable', 'The member API cannot be asked now', { cause });
}
