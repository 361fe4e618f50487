/**
 * A state in which no message can be published. `configuration` lasts until operators act; its message contains the
 * remedy.
 */
export interface Outage {
  readonly kind: 'unreachable' | 'time-out' | 'configuration' | 'unexpected-answer';
  readonly message: string;
}

/**
 * Error codes for a call that daprd rejected as a whole because of one bad entry, without naming it. daprd has
 * published no entry of such a call, so its halves can be sent again without duplicates.
 */
const MALFORMED = new Set(['ERR_PUBSUB_CLOUD_EVENTS_SER', 'ERR_PUBSUB_EVENTS_SER', 'ERR_PUBSUB_PUBLISH_MESSAGE']);
/** Those of them whose only possible cause is the entry itself. */
export const UNREADABLE = /ERR_PUBSUB_(CLOUD_EVENTS|EVENTS)_SER/;
const MISCONFIGURED = /^ERR_(PUBSUB_(NOT_FOUND|NOT_CONFIGURED|FORBIDDEN|EMPTY|REQUEST_METADATA)|TOPIC_NAME_EMPTY)$/;

export const unexpected = (answer: string): Outage => ({ kind: 'unexpected-answer', message: `daprd: ${answer}` });

/** `malformed` and `unknown`: the call was rejected as a whole, or answered as daprd does not. */
export type Answer =
  | { failures: ReadonlyMap<string, string> }
  | { malformed: string }
  | { unknown: string }
  | { outage: Outage };

interface Call {
  readonly component: string;
  readonly topic: string;
  readonly ids: readonly string[];
}

/** Reads daprd's answer to a bulk publish call. */
export function readAnswer(status: number, text: string, call: Call): Answer {
  if (status === 204) return { failures: new Map() };
  const { errorCode = '', message = text, failedEntries } = parse(text);
  const summary = `${status} ${errorCode} ${message}`.slice(0, 500);
  const advice = adviceOn(status, errorCode, call);
  if (advice) return { outage: { kind: 'configuration', message: `${advice} (daprd: ${summary})` } };
  const ids = new Set(call.ids);
  const named = failedEntries?.filter(({ entryId }) => ids.has(entryId)) ?? [];
  if (named.length > 0) {
    return { failures: new Map(named.map(({ entryId, error }) => [entryId, error || summary])) };
  }
  if (MALFORMED.has(errorCode) && (status === 400 || status === 500)) return { malformed: summary };
  return { unknown: summary };
}

interface Problem {
  errorCode?: string;
  message?: string;
  failedEntries?: { entryId: string; error?: string }[];
}

function parse(text: string): Problem {
  try {
    return (JSON.parse(text) as Problem | null) ?? {};
  } catch {
    return {};
  }
}

function adviceOn(status: number, errorCode: string, { component, topic }: Call): string | undefined {
  if (status === 401) return 'daprd rejects the dapr-api-token: set the same DAPR_API_TOKEN for this process and daprd';
  if (status === 403 || errorCode === 'ERR_PUBSUB_FORBIDDEN') {
    return `this app may not publish to ${topic}: check publishingScopes, allowedTopics and protectedTopics of component ${component}`;
  }
  if (status === 404 || MISCONFIGURED.test(errorCode)) {
    return `daprd has no usable pub/sub component ${component}: check its name, its scopes and daprd's log`;
  }
  return undefined;
}

/** Returns the outage of a call that was not answered. */
export function outageOf(error: NodeJS.ErrnoException): Outage {
  const timedOut = /TIMEOUT/.test(error.code ?? '') && error.code !== 'UND_ERR_CONNECT_TIMEOUT';
  const message = `daprd ${timedOut ? 'did not answer in time' : 'cannot be reached'}: ${error.code ?? ''} ${error.message}`;
  return { kind: timedOut ? 'time-out' : 'unreachable', message };
}
