import { v7 as uuid } from 'uuid';
import { z } from 'zod';

/** A system that publishes: its name gives its topics and the CloudEvents source. */
export interface System {
  readonly name: string;
  /** The name of the aggregate's id in external events, such as `memberId`. */
  readonly identifier: string;
}

export type Channel = 'internal' | 'external';
export const EVERYBODY = 'ALL';

/** The system's own topic of that channel. */
export const topicOf = (system: System, channel: Channel): string => `${system.name}-${channel}`;
/** The CloudEvents source of everything the system publishes. */
export const sourceOf = (system: System): string => `/${system.name}`;

/** A message as it travels: CloudEvents 1.0, structured. `id` is the message's, `eventid` the fact's. https://cloudevents.io */
export interface Envelope {
  specversion: '1.0';
  id: string;
  source: string;
  type: string;
  subject: string;
  time: string;
  datacontenttype: 'application/json';
  eventid: string;
  /** The fact's place among its aggregate's, padded so that it sorts as text does, as CloudEvents' `sequence` extension asks. */
  sequence: string;
  target: string;
  partitionkey: string;
  traceparent: string;
  /** Without it daprd overwrites `traceparent`. */
  traceid: string;
  data: unknown;
}

/** What an internal message carries beyond its envelope: values encrypted with the aggregate's key. */
export interface InternalData {
  attributes: Record<string, string>;
  reason?: string;
}

export const SEQUENCE_DIGITS = 10;

/** The envelope of a message; the sequence of a new fact is known, and filled in, only by the database. */
export function envelope(
  message: Omit<Envelope, 'specversion' | 'datacontenttype' | 'partitionkey' | 'traceid' | 'target' | 'sequence'> & {
    sequence?: string;
    target?: string;
  },
): Envelope {
  return {
    specversion: '1.0',
    datacontenttype: 'application/json',
    target: EVERYBODY,
    partitionkey: message.subject,
    traceid: message.traceparent,
    sequence: '',
    ...message,
  };
}

/** The external data of a fact, a pure mapping of it: who, what, which attributes, when. Never a value. */
export function externalData(
  system: System,
  event: Pick<ReceivedEvent, 'aggregateId' | 'type' | 'time' | 'data'>,
): Record<string, unknown> {
  return {
    [system.identifier]: event.aggregateId,
    eventType: event.type,
    attributeTypes: Object.keys((event.data as InternalData).attributes).sort(),
    occurredAt: event.time,
  };
}

/** A message that arrived, read. */
export interface ReceivedEvent {
  readonly messageId: string;
  readonly eventId: string;
  readonly type: string;
  readonly source: string;
  readonly aggregateId: string;
  readonly sequence: number;
  readonly target: string;
  readonly time: string;
  readonly traceparent?: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: what it holds is its publisher's contract; who uses it parses it
  readonly data: any;
}

/** A new message of a fact that was stated before. */
export function messageOf(
  event: Omit<ReceivedEvent, 'messageId' | 'target'>,
  { target, data }: { target: string; data: unknown },
): Envelope {
  return envelope({
    id: uuid(),
    source: event.source,
    type: event.type,
    subject: event.aggregateId,
    time: event.time,
    eventid: event.eventId,
    sequence: String(event.sequence).padStart(SEQUENCE_DIGITS, '0'),
    target,
    traceparent: event.traceparent ?? '',
    data,
  });
}

/** What names are made of; PostgreSQL's text takes any of it. */
const PRINTABLE = /^[\x21-\x7e]{1,200}$/;

const received = z.object({
  specversion: z.literal('1.0'),
  id: z.uuid(),
  eventid: z.uuid(),
  type: z.string().regex(PRINTABLE),
  source: z.string().regex(PRINTABLE),
  subject: z.uuid(),
  sequence: z
    .string()
    .regex(/^\d{1,15}$/)
    .transform(Number)
    .refine((n) => n >= 1, 'starts at 1'),
  target: z.string().regex(PRINTABLE).default(EVERYBODY),
  time: z.iso.datetime({ offset: true }),
  traceparent: z
    .string()
    .regex(/^[\x20-\x7e]{0,200}$/)
    .optional(),
  data: z.unknown(),
});

/**
 * Reads a delivered CloudEvent.
 * @throws ZodError naming what is missing or malformed
 */
export function readEnvelope(body: unknown): ReceivedEvent {
  const { id, eventid, subject, specversion: _, ...rest } = received.parse(body);
  return { messageId: id, eventId: eventid, aggregateId: subject, ...rest };
}
