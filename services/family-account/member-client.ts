import { CommunicationProtocolEnum, DaprClient, HttpMethod, LogLevel } from '@dapr/dapr';
import { z } from 'zod';
import { provenance } from '#eventing/provenance';
import { POSITION } from '#eventing/republish';
import { MEMBER_EVENT_SOURCE } from '#member/contract';
import { DependencyUnavailable } from '#process/errors';
import { RetryableError, retry } from '#process/retry';
import type { MemberSystem } from './member-system.ts';
import { system } from './system.ts';

export interface MemberClientOptions {
  readonly daprPort: number;
  readonly daprApiToken: string;
  /** Dapr app-id of the member API. */
  readonly appId: string;
  /** Reader credential at the member API. */
  readonly readerToken: string;
  /** Limit for one call including retries, milliseconds (default 3,000). Short, because an API caller waits meanwhile. */
  readonly timeoutMs?: number;
  /** Limit of concurrent calls (default 150); others fail immediately. The SDK cannot abort a call, so timed-out calls count until they end. */
  readonly maxCalls?: number;
  /** Separate limit for lookups of tokens that may be made up (default 50), so that they cannot exhaust `maxCalls`. */
  readonly maxUnknownCalls?: number;
}

// Only the fields that are used: responses hold more, and may get further fields.
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
  // The caller stores it and sends it with the next request.
  next: z.string().regex(POSITION),
});
const canary = z.object({ id: z.uuid() });
const canaryHops = z.object({
  hops: z.array(z.object({ name: z.string(), at: z.string().nullable(), problem: z.string().nullable() })),
});
const session = z.object({ memberId: z.uuid(), number: z.int() });

/** Creates a client of the member API that calls it through Dapr's service invocation. */
export function memberClient(options: MemberClientOptions): MemberSystem & AsyncDisposable {
  const client = new DaprClient({
    daprHost: '127.0.0.1',
    daprPort: String(options.daprPort),
    daprApiToken: options.daprApiToken,
    communicationProtocol: CommunicationProtocolEnum.HTTP,
    // At debug level it logs the headers of each call, including tokens.
    logger: { level: LogLevel.Error },
  });
  const { maxCalls = 150, maxUnknownCalls = 50 } = options;
  const invoke = invoker(client, options, maxCalls);
  const invokeForUnknown = invoker(client, options, maxUnknownCalls);
  return {
    async standingOf(memberId) {
      const answer = await invoke(`v1/members/${encodeURIComponent(memberId)}`, options.readerToken);
      if (answer.refusal === 'member-not-found') return 'NOT_VERIFIED';
      const found = read(member, answer);
      if (found.id !== memberId) throw unavailable(new Error('The member API returned another member'));
      if (found.status === 'WITHDRAWN') return 'WITHDRAWN';
      return found.identityVerification.status === 'VERIFIED' ? 'VERIFIED' : 'NOT_VERIFIED';
    },
    async sessionOf(token, { wasLive }) {
      const answer = await (wasLive ? invoke : invokeForUnknown)('v1/sessions/current', token);
      // `forbidden`: a valid credential of an operator or a reader, which has no session.
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
      return read(canaryHops, answer).hops;
    },
    [Symbol.asyncDispose]: () => client.stop(),
  };
}

/** Response of the member API: the body, or the slug of the problem. */
type MemberAnswer = { body: unknown; refusal?: undefined } | { refusal: string };

function invoker(client: DaprClient, { appId, timeoutMs = 3_000 }: MemberClientOptions, maxCalls: number) {
  let calls = 0;
  const call = async (
    path: string,
    token: string,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<MemberAnswer> => {
    if (calls >= maxCalls) throw new Error(`${calls} calls of the member API are in progress already`);
    const headers = { authorization: `Bearer ${token}`, traceparent: provenance().traceparent };
    calls += 1;
    const method = body ? HttpMethod.POST : HttpMethod.GET;
    const response = client.invoker.invoke(appId, path, method, body, { headers }).finally(() => {
      calls -= 1;
    });
    try {
      return { body: await Promise.race([response, aborted(signal)]) };
    } catch (error) {
      const refusal = refusalIn(error);
      if (refusal === undefined) throw new RetryableError('no answer from the member API', { cause: error });
      return { refusal };
    }
  };
  // All calls are safe to repeat. A retry helps while the member API's pod is being replaced: one call may wait seconds for the sidecar to
  // resolve the new pod, while the next call finds it immediately.
  const policy = { tryMs: timeoutMs * 0.4, totalMs: timeoutMs, tries: 3, backoffMs: 100 };
  return (path: string, token: string, body?: object): Promise<MemberAnswer> =>
    retry((signal) => call(path, token, body, signal), policy).catch((error: unknown) => {
      throw unavailable(error);
    });
}

/** Rejects when `signal` is aborted. Needed because the SDK has no timeout and waits 30 s for a sidecar that is down. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

// For every status but 2xx the SDK throws an Error whose message is JSON: {"error": reason phrase, "error_msg": body, "status": number}.
const failedInvocation = z.object({ status: z.int(), error_msg: z.string() });
const problem = z.object({ slug: z.string() });

/**
 * Returns the problem slug of the member API; undefined for a failure before it. Status codes are not enough: daprd itself answers 401 when
 * it rejects this process's API token, and 404, with `errorCode` and without a slug, when it cannot resolve the app-id.
 */
function refusalIn(error: unknown): string | undefined {
  try {
    const { error_msg, status } = failedInvocation.parse(JSON.parse((error as Error).message));
    return status < 500 ? problem.parse(JSON.parse(error_msg)).slug : undefined;
  } catch {
    return undefined;
  }
}

/** @throws DependencyUnavailable for a problem that the caller does not handle (such as an invalid credential) or an unexpected body */
function read<T>(schema: z.ZodType<T>, answer: MemberAnswer): T {
  if (answer.refusal !== undefined) throw unavailable(new Error(`The member API refused the call: ${answer.refusal}`));
  const { success, data, error } = schema.safeParse(answer.body);
  if (!success) throw unavailable(new Error('The member API sent an unexpected response', { cause: error }));
  return data;
}

function unavailable(cause: unknown): DependencyUnavailable {
  return new DependencyUnavailable('member-api-unavailable', 'The member API is unavailable: try again', { cause });
}
