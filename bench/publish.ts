import { Pool } from 'undici';
import type { Message } from './broker.ts';
import { DAPR_TOKEN, TOPIC } from './harness.ts';

const headers = { 'content-type': 'application/json', 'dapr-api-token': DAPR_TOKEN };

/**
 * Opens so many connections to daprd. They are closed by `stack`.
 * @returns a function that publishes in bulks of a hundred, unordered, as fast as daprd accepts them
 */
export function openRawPublisher(
  stack: AsyncDisposableStack,
  daprPort: number,
  connections: number,
): (messages: readonly Message[]) => Promise<void> {
  const pool = new Pool(`http://127.0.0.1:${daprPort}`, { connections });
  stack.defer(() => pool.close());
  const path = `/v1.0/publish/bulk/member-${TOPIC}/${TOPIC}`;
  return async (messages) => {
    const bulks: string[] = [];
    for (let i = 0; i < messages.length; i += 100) bulks.push(bulkBody(messages.slice(i, i + 100)));
    const waiting = bulks.values();
    const work = async () => {
      for (const body of waiting) {
        const answer = await pool.request({ method: 'POST', path, headers, body });
        if (answer.statusCode !== 204) throw new Error(`daprd: ${answer.statusCode} ${await answer.body.text()}`);
        await answer.body.dump();
      }
    };
    await Promise.all(Array.from({ length: connections }, work));
  };
}

function bulkBody(messages: readonly Message[]): string {
  const entries = messages.map(({ id, key, envelope }) => {
    const metadata = JSON.stringify({ partitionKey: key });
    return `{"entryId":"${id}","contentType":"application/cloudevents+json","metadata":${metadata},"event":${envelope}}`;
  });
  return `[${entries.join(',')}]`;
}
