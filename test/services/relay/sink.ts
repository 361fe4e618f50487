import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One entry of a bulk call, as daprd sees it. */
export interface SinkEntry {
  readonly entryId: string;
  readonly event: { id: string; partitionkey: string; n: number };
  readonly metadata?: Record<string, string>;
}

export interface Arrival {
  readonly topic: string;
  readonly id: string;
  readonly key: string;
  /** Its place among those of its key. */
  readonly n: number;
  /** When, of `performance.now()`. */
  readonly at: number;
}

/** What daprd would say: all accepted, these refused, an answer of its own, or nothing at all, though it may have accepted them. */
export type SinkAnswer =
  | 'accept'
  | 'accept-and-reset'
  | 'hang'
  | 'reset'
  | { readonly refuse: (entry: SinkEntry) => boolean; readonly error?: string }
  | { readonly status: number; readonly body: string };

/**
 * Stands where daprd would, for the answers that the real one cannot be made to give at will. It notes what it accepted, in order,
 * and each call whatever came of it.
 */
export class Sink implements AsyncDisposable {
  /** Decides on each call; accepts everything unless told. */
  answer: (topic: string, entries: readonly SinkEntry[]) => SinkAnswer | Promise<SinkAnswer> = () => 'accept';
  readonly arrivals: Arrival[] = [];
  readonly calls: { topic: string; entries: readonly SinkEntry[]; at: number }[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(): Promise<Sink> {
    const server = createServer();
    const sink = new Sink(server);
    server.on('request', (request, response) => void sink.#handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return sink;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The messages of one topic and key that arrived, by their number; repeats left out. */
  firsts(topic: string, key: string): number[] {
    return [...new Set(this.arrivals.filter((it) => it.topic === topic && it.key === key).map(({ n }) => n))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === '/v1.0/healthz/outbound') return void response.writeHead(204).end();
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const topic = request.url!.split('/').at(-1)!;
    const entries = JSON.parse(Buffer.concat(chunks).toString()) as SinkEntry[];
    this.calls.push({ topic, entries, at: performance.now() });
    const answer = await this.answer(topic, entries);
    if (answer === 'hang') return;
    if (answer === 'reset') return void response.destroy();
    if (answer === 'accept-and-reset') {
      for (const entry of entries) this.#arrived(topic, entry);
      return void response.destroy();
    }
    if (answer !== 'accept' && 'status' in answer) return void response.writeHead(answer.status).end(answer.body);
    const refuse = answer === 'accept' ? () => false : answer.refuse;
    const refused = new Set(entries.filter(refuse));
    for (const entry of entries) if (!refused.has(entry)) this.#arrived(topic, entry);
    const error = (answer !== 'accept' && answer.error) || 'nats: timeout';
    const failedEntries = [...refused].map(({ entryId }) => ({ entryId, error }));
    if (failedEntries.length === 0) return void response.writeHead(204).end();
    response
      .writeHead(500, { 'content-type': 'application/json' })
      .end(JSON.stringify({ failedEntries, errorCode: 'ERR_PUBSUB_PUBLISH_MESSAGE' }));
  }

  #arrived(topic: string, { event: { id, partitionkey: key, n } }: SinkEntry): void {
    this.arrivals.push({ topic, id, key, n, at: performance.now() });
  }
}
