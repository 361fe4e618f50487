import { timingSafeEqual } from 'node:crypto';
import Router from '@koa/router';
import { text } from 'co-body';
import type { Context, Middleware } from 'koa';
import { EVERYBODY, type ReceivedEvent, readEnvelope } from './cloud-event.ts';
import type { HeardTopic, OtherPublisher } from './hearing.ts';
import type { Consumer, Inbox } from './inbox.ts';
import type { Recorder } from './recorder.ts';

/**
 * Everything daprd understands as an answer, always given with 200. A missing or unknown status would be retried for ever, a 404 would
 * drop the event. DROP is never answered: what cannot be handled is kept where operators see it.
 */
type Answer = { status: 'SUCCESS' | 'RETRY' };

/** Who in this process hears a topic. */
export interface Subscriber extends HeardTopic {
  /** The CloudEvents source that may speak there. What others say is kept for an operator to see, and nobody acts on it. */
  readonly source: string;
  readonly consumers?: readonly Consumer[];
  readonly publisher?: OtherPublisher;
  /** For topics of this process's own system: marks what came back. */
  readonly recorder?: Recorder;
}

export interface SubscriptionOptions {
  readonly appId: string;
  /** What daprd sends as `dapr-api-token`; whoever does not is not our sidecar. */
  readonly appToken: string;
  /** By topic. The declarative subscriptions route a topic to `/events/<topic>`. */
  readonly topics: Readonly<Record<string, Subscriber>>;
  readonly inbox: Inbox;
  /** Told of each delivery, whatever becomes of it; and, once it is read, which message it is. */
  readonly heard?: (topic: string, messageId?: string) => void;
  /** Keeps a body that cannot be read as an event. */
  readonly keepUnreadable: (raw: string, error: unknown) => Promise<void>;
  readonly log: { warn(fields: object, message: string): void };
}

/** Larger than any message the outbox lets through. */
const BODY_LIMIT = '4mb';

/**
 * The routes that daprd delivers to, `POST /events/<topic>`, as Koa middleware; everything else is passed on.
 * SUCCESS means: every consumer has applied the event or keeps it in its table. RETRY means: the database could not be asked.
 */
export function daprSubscriptions(options: SubscriptionOptions): Middleware {
  const expected = Buffer.from(options.appToken);
  const router = new Router({ sensitive: true, strict: true });
  for (const topic of Object.keys(options.topics)) {
    router.post(`/events/${topic}`, async (ctx) => {
      if (!isSidecar(ctx, expected)) return ctx.throw(401, 'Only the Dapr sidecar may deliver events');
      options.heard?.(topic);
      ctx.status = 200;
      ctx.body = await receive(ctx, topic, options);
    });
  }
  return router.routes() as Middleware;
}

function isSidecar(ctx: Context, expected: Buffer): boolean {
  const given = Buffer.from(ctx.get('dapr-api-token'));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

async function receive(ctx: Context, topic: string, options: SubscriptionOptions): Promise<Answer> {
  const subscriber = options.topics[topic]!;
  try {
    const body = await text(ctx, { limit: BODY_LIMIT }).catch((error: { status?: number }) => {
      // Broken off, it comes again whole. What is too large or of an unknown encoding would come like this for ever.
      if (error.status !== 413 && error.status !== 415) throw error;
      return new Error(`not read: ${ctx.get('content-length') || 'unknown'} bytes, ${BODY_LIMIT} are taken`, {
        cause: error,
      });
    });
    if (body instanceof Error) {
      await options.keepUnreadable('', body);
      return { status: 'SUCCESS' };
    }
    const raw = unwrap(body);
    const event = read(raw);
    if ('messageId' in event) options.heard?.(topic, event.messageId);
    if ('error' in event) await options.keepUnreadable(raw, event.error);
    else if (event.source !== subscriber.source)
      await options.keepUnreadable(raw, new Error(`of the source ${event.source}, where ${subscriber.source} speaks`));
    else await handOut(event, subscriber, options);
    return { status: 'SUCCESS' };
  } catch (error) {
    options.log.warn({ err: error, path: ctx.path }, 'could not note a delivery: the broker is to bring it again');
    return { status: 'RETRY' };
  }
}

function read(raw: string): ReceivedEvent | { error: unknown } {
  try {
    return readEnvelope(JSON.parse(raw));
  } catch (error) {
    return { error };
  }
}

/**
 * What was published, as it was. Of a raw subscription daprd wraps each message, whatever it is, into a CloudEvent of its own making:
 * https://docs.dapr.io/developing-applications/building-blocks/pubsub/pubsub-raw/
 */
function unwrap(body: string): string {
  try {
    const { data_base64: wrapped, eventid } = JSON.parse(body);
    return typeof wrapped === 'string' && eventid === undefined ? Buffer.from(wrapped, 'base64').toString() : body;
  } catch {
    return body;
  }
}

/** One delivery, several consumers: each in a transaction of its own, none held up by another's failure. */
async function handOut(
  event: ReceivedEvent,
  { consumers = [], recorder }: Subscriber,
  { appId, inbox }: SubscriptionOptions,
) {
  // A message for one subscriber only leaves no trace with the others; that it came back is true all the same.
  const forUs = event.target === EVERYBODY || event.target === appId;
  const deliveries = forUs ? consumers.map((consumer) => inbox.deliver(consumer, event)) : [];
  const outcomes = await Promise.allSettled([recorder?.cameBack(event.messageId), ...deliveries]);
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
}
