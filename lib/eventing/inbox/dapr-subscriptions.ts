import { isUtf8 } from 'node:buffer';
import Router from '@koa/router';
import { text } from 'co-body';
import type { Context, Middleware } from 'koa';
import { invokedBy } from './invocation.ts';
import type { Receiver } from './receiver.ts';

/**
 * Answers to daprd, always sent with status 200. daprd retries a missing or unknown `status` indefinitely, and drops the
 * event on a 404. DROP is not used: an event that cannot be handled is deferred, where operators see it.
 */
type Answer = { status: 'SUCCESS' | 'RETRY' };

export interface SubscriptionOptions {
  /** Topics of the declarative subscriptions, which route each to `/events/<topic>`. */
  readonly topics: readonly string[];
  readonly receiver: Receiver;
  /** Called with the topic of each delivery, whatever its result. */
  readonly received?: (topic: string) => void;
  readonly log: { warn(fields: object, message: string): void };
}

const INVOKED = 'invoked by an app, not delivered from a topic';

/** Larger than any message that the outbox accepts. */
const BODY_LIMIT = '4mb';

/**
 * Koa middleware with the routes that daprd delivers to, `POST /events/<topic>`; other requests pass through. Mount it on a
 * port that only the sidecar can call: it does not check the sidecar's token.
 * SUCCESS: every consumer has applied or deferred the event. RETRY: the database could not be reached.
 */
export function daprSubscriptions(options: SubscriptionOptions): Middleware {
  const router = new Router({ sensitive: true, strict: true });
  for (const topic of options.topics) {
    router.post(`/events/${topic}`, async (ctx) => {
      options.received?.(topic);
      ctx.status = 200;
      ctx.body = await receive(ctx, topic, options);
    });
  }
  return router.routes() as Middleware;
}

async function receive(ctx: Context, topic: string, { receiver, log }: SubscriptionOptions): Promise<Answer> {
  try {
    const body = await read(ctx);
    const caller = invokedBy(ctx.headers);
    if (Error.isError(body)) await receiver.receive(topic, '', body);
    // Stored with a prefix that makes it unparseable, so that a redrive cannot apply it either.
    else if (caller !== undefined) await receiver.receive(topic, `invoked by ${caller}: ${body}`, new Error(INVOKED));
    else await receiver.receive(topic, unwrap(body));
    return { status: 'SUCCESS' };
  } catch (error) {
    log.warn({ err: error, path: ctx.path }, 'could not record a delivery, requesting redelivery');
    return { status: 'RETRY' };
  }
}

/**
 * Reads the body. @returns an Error when no redelivery can be readable: too large, or an unknown or broken encoding
 * @throws when the connection broke off; a redelivery will be complete
 */
async function read(ctx: Context): Promise<string | Error> {
  try {
    return await text(ctx, { limit: BODY_LIMIT });
  } catch (error) {
    if (ctx.req.destroyed && !ctx.req.complete) throw error;
    const bytes = ctx.get('content-length') || 'unknown';
    return new Error(`cannot read the body: ${bytes} bytes; the limit is ${BODY_LIMIT}`, { cause: error });
  }
}

/**
 * Returns the message as it was published. For a raw subscription daprd wraps each message in a CloudEvent of its own:
 * https://docs.dapr.io/developing-applications/building-blocks/pubsub/pubsub-raw/
 */
function unwrap(body: string): string {
  try {
    const { data_base64: wrapped, eventid } = JSON.parse(body);
    if (typeof wrapped !== 'string' || eventid !== undefined) return body;
    const bytes = Buffer.from(wrapped, 'base64');
    // Bytes that are not UTF-8 stay wrapped: decoding would alter the text, which might then parse as an event.
    return isUtf8(bytes) ? bytes.toString() : body;
  } catch {
    return body;
  }
}
