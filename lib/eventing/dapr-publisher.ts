import { Pool } from 'undici';

export interface BulkEntry {
  /** Unique within the call; the message's id. */
  readonly entryId: string;
  /** The CloudEvent as JSON text. Sent as it is, neither parsed nor written again: that would cost time and change large numbers. */
  readonly event: string;
  /** Such as `partitionKey`, by which Kafka keeps order. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Nothing can be published, whatever the message. `configuration` lasts until somebody changes something, and says what. */
export interface Outage {
  readonly kind: 'unreachable' | 'time-out' | 'configuration' | 'unexpected-answer';
  readonly message: string;
}

/**
 * What is known of each entry. An entry in neither collection is one of which nothing is known: it may or may not have been published.
 * That `failed` was not published is likely, never sure.
 */
export interface BulkResult {
  readonly accepted: ReadonlySet<string>;
  /** Refused by daprd or by the broker, with the reason. Whether the entry is to blame or the broker is down cannot be told from one answer. */
  readonly failed: ReadonlyMap<string, string>;
  /** Those of `failed` that are no CloudEvents: nobody's fault but their own. */
  readonly malformed: ReadonlySet<string>;
  readonly outage?: Outage;
}

export interface DaprPublisherOptions {
  readonly port: number;
  readonly host?: string;
  /** The credential that daprd asks for (its own `DAPR_API_TOKEN`). */
  readonly apiToken?: string;
  /** The name of the pub/sub component of a topic; the topic's own unless told. */
  readonly componentOf?: (topic: string) => string;
  /** After which the outcome of a call is unknown. 10 s: daprd itself answers within 6 s for each broker when that is down. */
  readonly timeoutMs?: number;
}

/** Of one call. daprd publishes up to 100 entries at once, and brings no more than 4 MiB; the rest is room for what wraps an entry. */
const MAX_ENTRIES = 100;
const MAX_BYTES = 4 * 1024 * 1024 - 1024;
/** Calls at once: one leaves daprd idle while it waits for the broker's answers, more than four brought nothing. */
const CONNECTIONS = 4;

/** daprd's whole answer to one bad entry: it names none, and has published none. */
const MALFORMED = new Set(['ERR_PUBSUB_CLOUD_EVENTS_SER', 'ERR_PUBSUB_EVENTS_SER', 'ERR_PUBSUB_PUBLISH_MESSAGE']);
/** Of these, what can have no other reason than the entry itself. */
const UNREADABLE = /ERR_PUBSUB_(CLOUD_EVENTS|EVENTS)_SER/;
const MISCONFIGURED = /^ERR_(PUBSUB_(NOT_FOUND|NOT_CONFIGURED|FORBIDDEN|EMPTY|REQUEST_METADATA)|TOPIC_NAME_EMPTY)$/;

interface Entry {
  readonly id: string;
  readonly json: string;
  readonly bytes: number;
}

class Outcome implements BulkResult {
  readonly accepted = new Set<string>();
  readonly failed = new Map<string, string>();
  readonly malformed = new Set<string>();
  outage?: Outage;

  settle(entries: readonly Entry[], failures: ReadonlyMap<string, string>): void {
    for (const { id } of entries) {
      const error = failures.get(id);
      if (error === undefined) this.accepted.add(id);
      else this.failed.set(id, error);
    }
  }
}

type Answer = { failures: ReadonlyMap<string, string> } | { malformed: string } | { outage: Outage };

/**
 * Publishes many messages at once through daprd's HTTP API and tells the truth about each. Not through the SDK, nor gRPC: both hide which
 * entries failed. The order of the entries of one call means nothing: daprd publishes them at the same time.
 */
export class DaprPublisher implements AsyncDisposable {
  readonly #pool: Pool;
  readonly #headers: Record<string, string>;
  readonly #componentOf: (topic: string) => string;

  constructor(options: DaprPublisherOptions) {
    const { port, host = '127.0.0.1', apiToken, componentOf = (topic) => topic, timeoutMs = 10_000 } = options;
    this.#pool = new Pool(`http://${host}:${port}`, {
      connections: CONNECTIONS,
      connectTimeout: timeoutMs,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    this.#headers = { 'content-type': 'application/json', ...(apiToken && { 'dapr-api-token': apiToken }) };
    this.#componentOf = componentOf;
  }

  /**
   * Publishes `entries`, however many, in calls that daprd takes. A call that is refused whole is halved until the culprit is found; an
   * outage ends everything that has not been sent.
   * @throws the signal's reason once it is aborted, and nothing else
   */
  async publishBulk(topic: string, entries: readonly BulkEntry[], signal?: AbortSignal): Promise<BulkResult> {
    const outcome = new Outcome();
    // daprd drops the connection on `null`, which would look like an outage.
    const [sound, broken] = [entries.filter(isObject), entries.filter((entry) => !isObject(entry))];
    for (const { entryId } of broken) {
      outcome.failed.set(entryId, 'not a CloudEvent: no JSON object');
      outcome.malformed.add(entryId);
    }
    const calls = split(sound.map(serialise));
    const work = async (): Promise<void> => {
      for (let call = calls.shift(); call && !outcome.outage; call = calls.shift()) {
        await this.#publish(topic, call, outcome, signal);
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, work));
    return outcome;
  }

  async #publish(topic: string, entries: readonly Entry[], outcome: Outcome, signal?: AbortSignal): Promise<void> {
    if (outcome.outage) return;
    const answer = await this.#post(topic, entries, signal);
    if ('outage' in answer) outcome.outage ??= answer.outage;
    else if ('failures' in answer) outcome.settle(entries, answer.failures);
    else if (entries.length === 1) {
      outcome.failed.set(entries[0]!.id, answer.malformed);
      if (UNREADABLE.test(answer.malformed)) outcome.malformed.add(entries[0]!.id);
    } else {
      const middle = entries.length >> 1;
      await this.#publish(topic, entries.slice(0, middle), outcome, signal);
      await this.#publish(topic, entries.slice(middle), outcome, signal);
    }
  }

  async #post(topic: string, entries: readonly Entry[], signal?: AbortSignal): Promise<Answer> {
    signal?.throwIfAborted();
    const component = this.#componentOf(topic);
    try {
      const { statusCode, body } = await this.#pool.request({
        method: 'POST',
        path: `/v1.0/publish/bulk/${encodeURIComponent(component)}/${encodeURIComponent(topic)}`,
        headers: this.#headers,
        body: `[${entries.map(({ json }) => json).join(',')}]`,
        signal,
      });
      return read(statusCode, await body.text(), { component, topic, entries });
    } catch (error) {
      signal?.throwIfAborted();
      return { outage: outageOf(error as NodeJS.ErrnoException) };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy();
  }
}

const isObject = ({ event }: BulkEntry): boolean => /^\s*\{/.test(event);

function serialise({ entryId, event, metadata }: BulkEntry): Entry {
  const json = `{"entryId":${JSON.stringify(entryId)},"contentType":"application/cloudevents+json","metadata":${JSON.stringify(metadata ?? {})},"event":${event}}`;
  return { id: entryId, json, bytes: Buffer.byteLength(json) + 1 };
}

/** Calls of about equal size, so that those at once end at once. */
function split(entries: readonly Entry[]): Entry[][] {
  const size = Math.ceil(entries.length / Math.ceil(entries.length / MAX_ENTRIES));
  const calls: Entry[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const entry of entries) {
    const last = calls.at(-1);
    if (last && last.length < size && bytes + entry.bytes <= MAX_BYTES) {
      last.push(entry);
      bytes += entry.bytes;
    } else {
      calls.push([entry]);
      bytes = entry.bytes;
    }
  }
  return calls;
}

interface Call {
  readonly component: string;
  readonly topic: string;
  readonly entries: readonly Entry[];
}

function read(status: number, text: string, call: Call): Answer {
  if (status === 204) return { failures: new Map() };
  const { errorCode = '', message = text, failedEntries } = parse(text);
  const what = `${status} ${errorCode} ${message}`.slice(0, 500);
  const advice = adviceOn(status, errorCode, call);
  if (advice) return { outage: { kind: 'configuration', message: `${advice} (daprd: ${what})` } };
  const ids = new Set(call.entries.map(({ id }) => id));
  const named = failedEntries?.filter(({ entryId }) => ids.has(entryId)) ?? [];
  if (named.length > 0) {
    return { failures: new Map(named.map(({ entryId, error }) => [entryId, error || what])) };
  }
  if (MALFORMED.has(errorCode) && (status === 400 || status === 500)) return { malformed: what };
  return { outage: { kind: 'unexpected-answer', message: `daprd: ${what}` } };
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
  if (status === 401) return 'daprd refuses the dapr-api-token: DAPR_API_TOKEN differs between this process and daprd';
  if (status === 403 || errorCode === 'ERR_PUBSUB_FORBIDDEN') {
    return `this app may not publish to ${topic}: see publishingScopes, allowedTopics and protectedTopics of component ${component}`;
  }
  if (status === 404 || MISCONFIGURED.test(errorCode)) {
    return `daprd has no usable pub/sub component ${component}: see its name, its scopes and daprd's log`;
  }
  return undefined;
}

function outageOf(error: NodeJS.ErrnoException): Outage {
  const timedOut = /TIMEOUT/.test(error.code ?? '') && error.code !== 'UND_ERR_CONNECT_TIMEOUT';
  const message = `daprd ${timedOut ? 'did not answer in time' : 'cannot be reached'}: ${error.code ?? ''} ${error.message}`;
  return { kind: timedOut ? 'time-out' : 'unreachable', message };
}
