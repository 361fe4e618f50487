import { v7 as uuid } from 'uuid';
import { z } from 'zod';

/** A publishing system. Its topics and its CloudEvents source are derived from its name. */
export interface System {
  readonly name: string;
  /** Field name of the aggregate's id in external events, such as `memberId`. */
  readonly identifier: string;
}

export type Channel = 'internal' | 'external';
export const ALL_TARGETS = 'ALL';

/** Returns the system's topic of that channel. */
export const topicOf = (system: System, channel: Channel): string => `${system.name}-${channel}`;
/** Returns the CloudEvents source of all events of the system. */
export const sourceOf = (system: System): string => `/${system.name}`;

/** A message in CloudEvents 1.0 structured form. `id` identifies the message, `eventid` the event. https://cloudevents.io */
export interface Envelope {
  specversion: '1.0';
  id: string;
  source: string;
  type: string;
  subject: string;
  time: string;
  datacontenttype: 'application/json';
  eventid: string;
  /** Sequence within the aggregate, padded with zeros to sort as text, as CloudEvents' `sequence` extension requires. */
  sequence: string;
  target: string;
  partitionkey: string;
  traceparent: string;
  /** Without it daprd overwrites `traceparent`. */
  traceid: string;
  data: unknown;
}

/** The `data` of an internal message. Values are encrypted with the aggregate's key. */
export interface InternalData {
  attributes: Record<string, string>;
  reason?: string;
}

export const SEQUENCE_DIGITS = 10;

/** Builds a message. Omit `sequence` for a new event: the database assigns it and fills it in. */
export function envelope(
  message: Omit<Envelope, 'specversion' | 'datacontenttype' | 'partitionkey' | 'traceid' | 'target' | 'sequence'> & {
    sequence?: string;
    target?: string;
  },
): Envelope {
  return {
    specversion: '1.0',
    datacontenttype: 'application/json',
    target: ALL_TARGETS,
    partitionkey: message.subject,
    traceid: message.traceparent,
    sequence: '',
    ...message,
  };
}

/** Maps an event to the `data` of its external message: identifier, type, attribute types, time. Never a value. */
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

/** A received message, parsed. */
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
  // biome-ignore lint/suspicious/noExplicitAny: its form is the publisher's contract; consumers parse it
  readonly data: any;
}

/** Builds a new message of a stored event. */
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

/** Characters of app-ids and sources; PostgreSQL's text accepts all of them. */
const PRINTABLE = /^[\x21-\x7e]{1,200}$/;
/** A CloudEvents String: no control characters, surrogates or non-characters. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system */
const TEXT = /^[^\p{Cc}\p{Cs}\p{NChar}]{1,200}$/u;
/** Lower case, because hex digits have two spellings and ids are compared as text. */
const id = z.uuid().toLowerCase();
/**
 * Converts any spelling of RFC 3339 to ISO 8601 in UTC with milliseconds.
 * A leap second becomes the second before it, because Date has none.
 */
const time = z
  .string()
  .toUpperCase()
  .overwrite((text) => text.replace(/^(.{10}) /, '$1T').replace(/^(.{16}):60/, '$1:59'))
  .pipe(z.iso.datetime({ offset: true }))
  .transform((text) => new Date(text).toISOString())
  // In UTC the year may no longer have four digits.
  .pipe(z.iso.datetime());

const received = z.object({
  specversion: z.literal('1.0'),
  id,
  eventid: id,
  type: z.string().regex(TEXT),
  source: z.string().regex(PRINTABLE),
  subject: id,
  sequence: z
    .string()
    .regex(/^0*[1-9]\d{0,14}$/, 'must be a whole number of at least 1')
    .transform(Number),
  // JSON null counts as absent.
  target: z
    .string()
    .regex(PRINTABLE)
    .nullish()
    .transform((target) => target ?? ALL_TARGETS),
  time,
  // W3C Trace Context. A malformed value is ignored: rejecting it would cost an event.
  traceparent: z
    .string()
    .regex(/^[\x20-\x7e]{0,200}$/)
    .optional()
    .catch(undefined),
  data: z.unknown(),
});

/**
 * Validates a CloudEvent.
 * @param body the result of JSON.parse
 * @returns the event, its ids in lower case and its time in UTC
 * @throws ZodError naming each missing or malformed attribute
 */
export function readEnvelope(body: unknown): ReceivedEvent {
  const { id, eventid, subject, specversion: _, ...rest } = received.parse(body);
  return { messageId: id, eventId: eventid, aggregateId: subject, ...rest };
}

/** JSON.parse accepts any depth; JSON.stringify and recursive code overflow the stack after some thousand levels. */
const MAX_DEPTH = 100;

/**
 * Parses and validates the JSON text of a CloudEvent.
 * @returns the event, its ids in lower case and its time in UTC
 * @throws Error when the text is not JSON or nested deeper than 100 levels; ZodError naming each malformed attribute
 */
export function parseEnvelope(raw: string): ReceivedEvent {
  if (isDeeperThan(MAX_DEPTH, raw)) throw new Error(`the JSON is nested deeper than ${MAX_DEPTH} levels`);
  return readEnvelope(parseJson(raw));
}

/** The time in an event's id says how long a consumer has to remember the event (docs/decisions/0032). @throws Error for other ids */
export function assertUuidV7({ eventId }: Pick<ReceivedEvent, 'eventId'>): void {
  if (eventId[14] !== '7') throw new Error(`eventid ${eventId} is no UUIDv7`);
}

function parseJson(raw: string): unknown {
  try {
    return JSON.parse(raw);
  } catch (cause) {
    // The parser's own message quotes the body, which may hold personal data.
    throw new Error('the body is not JSON', { cause });
  }
}

function isDeeperThan(limit: number, json: string): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === '"') inString = !inString;
    else if (inString) i += character === '\\' ? 1 : 0;
    else if (character === '[' || character === '{') depth += 1;
    else if (character === ']' || character === '}') depth -= 1;
    if (depth > limit) return true;
  }
  return false;
}
