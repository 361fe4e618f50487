import { Pool } from 'undici';
import { type Answer, type Outage, outageOf, readAnswer, UNREADABLE, unexpected } from './dapr-answers.ts';

export interface BulkEntry {
  /** Id of the message, unique within the call. */
  readonly entryId: string;
  /** The CloudEvent as JSON text. It is sent unchanged: parsing and writing it again would cost time and alter large numbers. */
  readonly event: string;
  /** Metadata of the entry, such as `partitionKey`, by which Kafka keeps order. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * Result for each entry. An entry that is neither `accepted` nor `failed` has an unknown outcome: it may or may not have been
 * published. A `failed` entry was probably not published, but this is never certain.
 */
export interface BulkResult {
  readonly accepted: ReadonlySet<string>;
  /**
   * Rejected by daprd or the broker, with the reason. One response cannot distinguish a faulty entry from a broker
   * outage.
   */
  readonly failed: ReadonlyMap<string, string>;
  /** Those of `failed` that are not CloudEvents: the entry itself is at fault. */
  readonly malformed: ReadonlySet<string>;
  readonly outage?: Outage;
}

export interface DaprPublisherOptions {
  readonly port: number;
  readonly host?: string;
  /** The API token that daprd requires (its own `DAPR_API_TOKEN`). */
  readonly apiToken?: string;
  /** Returns the name of the pub/sub component of a topic (default: the topic's name). */
  readonly componentOf?: (topic: string) => string;
  /** Timeout of a call (default 10 s), after which its outcome is unknown. With a broker down daprd answers within 6 s. */
  readonly timeoutMs?: number;
}

/**
 * Limits of one call. daprd publishes up to 100 entries concurrently and accepts 4 MiB, less room for what wraps the
 * entries.
 */
const MAX_ENTRIES = 100;
const MAX_BYTES = 4 * 1024 * 1024 - 1024;
/** Concurrent calls of one `publishBulk`. One leaves daprd idle while it waits for the broker; more than four gained nothing. */
const CONCURRENT_CALLS = 4;
/** Enough for the calls of several topics: those of one that get no answer must not keep back the others'. */
const CONNECTIONS = 32;

interface Entry {
  readonly id: string;
  readonly json: string;
  readonly bytes: number;
}

class Outcome implements BulkResult {
  readonly accepted = new Set<string>();
  readonly failed = new Map<string, string>();
  readonly malformed = new Set<string>();
  /** Entries that got an unknown answer in a call of their own. */
  readonly #suspects = new Map<string, string>();
  outage?: Outage;

  settle(entries: readonly Entry[], failures: ReadonlyMap<string, string>): void {
    for (const { id } of entries) {
      const error = failures.get(id);
      if (error === undefined) this.accepted.add(id);
      else this.failed.set(id, error);
    }
  }

  /** Two entries with unknown answers and none accepted: nothing can be published, so the other calls are not made. */
  suspect({ id }: Entry, answer: string): void {
    this.#suspects.set(id, answer);
    if (this.#suspects.size > 1 && this.accepted.size === 0) this.outage ??= unexpected(answer);
  }

  /** An unknown answer is the entry's own fault if others were accepted. */
  conclude(): this {
    for (const [id, answer] of this.#suspects)
      if (this.accepted.size > 0) this.failed.set(id, answer);
      else this.outage ??= unexpected(answer);
    return this;
  }
}

/**
 * Publishes many messages per request through daprd's HTTP API, with a result for each. The SDK and gRPC hide which
 * entries failed. The order of the entries has no effect: daprd publishes those of one call concurrently.
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
   * Publishes any number of entries, in calls that daprd accepts. A call that is rejected as a whole, or gets an unknown
   * answer, is halved until the bad entry is isolated. After an outage nothing more is sent.
   * @throws only the signal's reason, once it is aborted
   */
  async publishBulk(topic: string, entries: readonly BulkEntry[], signal?: AbortSignal): Promise<BulkResult> {
    const outcome = new Outcome();
    // daprd drops the connection on `null`, which would look like an outage.
    const [valid, invalid] = [entries.filter(isObject), entries.filter((entry) => !isObject(entry))];
    for (const { entryId } of invalid) {
      outcome.failed.set(entryId, 'not a CloudEvent: not a JSON object');
      outcome.malformed.add(entryId);
    }
    const calls = split(valid.map(serialise));
    const work = async (): Promise<void> => {
      for (let call = calls.shift(); call && !outcome.outage; call = calls.shift()) {
        await this.#publish(topic, call, outcome, signal);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENT_CALLS }, work));
    return outcome.conclude();
  }

  async #publish(topic: string, entries: readonly Entry[], outcome: Outcome, signal?: AbortSignal): Promise<void> {
    if (outcome.outage) return;
    const answer = await this.#post(topic, entries, signal);
    if ('outage' in answer) outcome.outage ??= answer.outage;
    else if ('failures' in answer) outcome.settle(entries, answer.failures);
    else if (entries.length === 1 && 'unknown' in answer) outcome.suspect(entries[0]!, answer.unknown);
    else if (entries.length === 1 && 'malformed' in answer) {
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
      return readAnswer(statusCode, await body.text(), { component, topic, ids: entries.map(({ id }) => id) });
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

/** Splits entries into calls of about equal size, so that concurrent calls end at about the same time. */
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
