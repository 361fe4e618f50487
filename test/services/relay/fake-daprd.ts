import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One entry of a bulk publish call. */
export interface BulkEntry {
  readonly entryId: string;
  readonly event: { id: string; partitionkey: string; n: number };
  readonly metadata?: Record<string, string>;
}

export interface Arrival {
  readonly topic: string;
  readonly id: string;
  readonly key: string;
  /** Its position among the messages of its key, from 1. */
  readonly n: number;
  /** `performance.now()` at its arrival. */
  readonly at: number;
}

/** The fake's answer: all accepted, some refused, any other response, or none, with or without having accepted the messages. */
export type FakeAnswer =
  | 'accept'
  | 'accept-and-reset'
  | 'hang'
  | 'reset'
  | { readonly refuse: (entry: BulkEntry) => boolean; readonly error?: string }
  | { readonly status: number; readonly body: string };

/** Replaces daprd for answers that the real one cannot be made to give. Records accepted messages in order, and every call. */
export class FakeDaprd implements AsyncDisposable {
  /** Decides the answer to each call (default: accept). */
  answer: (topic: string, entries: readonly BulkEntry[]) => FakeAnswer | Promise<FakeAnswer> = () => 'accept';
  readonly arrivals: Arrival[] = [];
  readonly calls: { topic: string; entries: readonly BulkEntry[]; at: number }[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(): Promise<FakeDaprd> {
    const server = createServer();
    const fakeDaprd = new FakeDaprd(server);
    server.on('request', (request, response) => void fakeDaprd.#handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return fakeDaprd;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Returns the numbers of the accepted messages of one topic and key, without repeats. */
  firstArrivals(topic: string, key: string): number[] {
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
    const entries = JSON.parse(Buffer.concat(chunks).toString()) as BulkEntry[];
    this.calls.push({ topic, entries, at: performance.now() });
    const answer = await this.answer(topic, entries);
    if (answer === 'hang') return;
    if (answer === 'reset') return void response.destroy();
    if (answer === 'accept-and-reset') {
      for (const entry of entries) this.#recordArrival(topic, entry);
      return void response.destroy();
    }
    if (answer !== 'accept' && 'status' in answer) return void response.writeHead(answer.status).end(answer.body);
    const refuse = answer === 'accept' ? () => false : answer.refuse;
    const refused = new Set(entries.filter(refuse));
    for (const entry of entries) if (!refused.has(entry)) this.#recordArrival(topic, entry);
    const error = (answer !== 'accept' && answer.error) || 'nats: timeout';
    const failedEntries = [...refused].map(({ entryId }) => ({ entryId, error }));
    if (failedEntries.length === 0) return void response.writeHead(204).end();
    response
      .writeHead(500, { 'content-type': 'application/json' })
      .end(JSON.stringify({ failedEntries, errorCode: 'ERR_PUBSUB_PUBLISH_MESSAGE' }));
  }

  #recordArrival(topic: string, { event: { id, partitionkey: key, n } }: BulkEntry): void {
    this.arrivals.push({ topic, id, key, n, at: performance.now() });
  }
}
