import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { type System, sourceOf, topicOf } from './cloud-event.ts';

type Json = Record<string, unknown>;

/** What a system says to others on its external topic: a promise that is only ever added to. */
export interface Contract {
  readonly system: System;
  readonly title: string;
  /** The `data` of each event: the same fields for all. */
  readonly data: z.ZodObject;
  /** By event type, the types of the attributes that may change with it. */
  readonly eventTypes: Readonly<Record<string, readonly string[]>>;
}

/** All that was ever published of a contract; nothing in it is ever changed or taken away. */
export interface Published {
  readonly topic: string;
  readonly contentType: string;
  /** The whole message as JSON Schema, but for what is said to people and the list of types, which grows. */
  readonly message: Json;
  readonly eventTypes: Readonly<Record<string, readonly string[]>>;
}

/** The `data` of an event as JSON Schema. */
export function dataSchema({ data }: Contract): Json {
  return z.toJSONSchema(data) as Json;
}

/** What has been published before, and whatever of today's contract is new. */
export function published(contract: Contract, before: Published | undefined): Published {
  const eventTypes = { ...before?.eventTypes };
  for (const [type, attributes] of Object.entries(contract.eventTypes))
    eventTypes[type] = [...new Set([...(eventTypes[type] ?? []), ...attributes])].sort();
  return { ...form(contract), ...before, eventTypes };
}

/** What of today's contract is not as it was published, and what to do about it, a sentence each; none when it keeps to it. */
export function broken(contract: Contract, before: Published): string[] {
  const { eventTypes: types, ...was } = before;
  const changed = differences(was, form(contract)).map(
    (path) =>
      `${path} is not what was published: put it back. Types may be added, fields never; another form is another topic.`,
  );
  const missing = Object.entries(types).flatMap(([type, attributes]) => {
    const now = contract.eventTypes[type];
    if (!now) return [`${type} was published: put it back, if it only is never said again.`];
    return attributes
      .filter((it) => !now.includes(it))
      .map((it) => `${it} of ${type} was published: put it back, if it only never changes again.`);
  });
  return [...changed, ...missing];
}

/** What may never change. */
function form(contract: Contract): Omit<Published, 'eventTypes'> {
  const types = Object.keys(contract.eventTypes);
  const { $schema: _, ...message } = z.toJSONSchema(messageOf(contract), {
    override({ jsonSchema }) {
      delete jsonSchema.title;
      delete jsonSchema.description;
      if (isDeepStrictEqual(jsonSchema.enum, types)) delete jsonSchema.enum;
    },
  });
  return { topic: topicOf(contract.system, 'external'), contentType: CONTENT_TYPE, message };
}

/** The paths at which two JSON values differ. */
function differences(before: unknown, now: unknown, path = ''): string[] {
  if (!isObject(before) || !isObject(now)) return isDeepStrictEqual(before, now) ? [] : [path];
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return names.flatMap((name) => differences(before[name], now[name], path ? `${path}.${name}` : name));
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Which attributes may change with which event, as a Markdown table. */
export function attributeTable({ eventTypes }: Contract): string {
  const rows = Object.entries(eventTypes).map(
    ([type, attributes]) => `| \`${type}\` | ${attributes.map((it) => `\`${it}\``).join(', ') || 'none'} |`,
  );
  return ['| event | attributes that may change |', '| --- | --- |', ...rows].join('\n');
}

const CONTENT_TYPE = 'application/cloudevents+json';

/** The whole message: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, with the extensions that are used, and no other. */
export const messageOf = ({ system, data }: Contract) =>
  z.strictObject({
    specversion: z.literal('1.0'),
    id: z.uuid().describe('The message. A message that is sent again keeps it'),
    source: z.literal(sourceOf(system)),
    type: z.string().describe('What happened'),
    subject: z.uuid().describe('Whom it happened to'),
    time: z.iso.datetime().describe('When, in UTC'),
    datacontenttype: z.literal('application/json'),
    eventid: z
      .uuid()
      .describe('The fact. The same fact may come again as another message: decide by this whether you know it'),
    sequence: z
      .string()
      .regex(/^\d{10}$/)
      .describe('The place of the fact among those of its subject, from 1, without gaps'),
    target: z
      .string()
      .optional()
      .describe('`ALL`, or the app-id of the one subscriber that it is for: pass over what is for somebody else'),
    partitionkey: z.string().optional().describe('The subject'),
    traceparent: z.string().optional().describe('The trace in which it happened (W3C Trace Context)'),
    traceid: z.string().optional().describe('The same, where Dapr reads it'),
    tracestate: z.string().optional().describe('Added by Dapr'),
    topic: z.string().optional().describe('Added by Dapr: the topic'),
    pubsubname: z.string().optional().describe('Added by Dapr: its component'),
    data,
  });

/** The contract as an AsyncAPI 3.0 document. https://www.asyncapi.com/docs/reference/specification/v3.0.0 */
export function asyncApi(contract: Contract): Json {
  const { system, title, eventTypes } = contract;
  const topic = topicOf(system, 'external');
  const types = Object.keys(eventTypes);
  const { $schema: _, ...envelope } = z.toJSONSchema(messageOf(contract));
  const { data, ...attributes } = envelope.properties!;
  const message = (type: string) => ({
    name: type,
    summary: `Attributes that may change: ${eventTypes[type]!.join(', ') || 'none'}`,
    contentType: CONTENT_TYPE,
    payload: {
      allOf: [{ $ref: '#/components/schemas/envelope' }, { type: 'object', properties: { type: { const: type } } }],
    },
  });
  return {
    asyncapi: '3.0.0',
    info: {
      title,
      version: '1.0.0',
      description:
        'Facts, as CloudEvents 1.0 in structured form. Event types and attribute types may be added, so pass over what you do not know; nothing is ever changed or taken away.',
    },
    defaultContentType: CONTENT_TYPE,
    channels: {
      [topic]: {
        address: topic,
        messages: Object.fromEntries(types.map((type) => [type, { $ref: `#/components/messages/${type}` }])),
      },
    },
    operations: {
      publish: {
        action: 'send',
        channel: { $ref: `#/channels/${topic}` },
        messages: types.map((type) => ({ $ref: `#/channels/${topic}/messages/${type}` })),
      },
    },
    components: {
      messages: Object.fromEntries(types.map((type) => [type, message(type)])),
      schemas: {
        envelope: { ...envelope, properties: { ...attributes, data: { $ref: '#/components/schemas/data' } } },
        data,
      },
    },
  };
}

/** What the files beside a contract hold, by name, given what they hold now. */
export function contractFiles(
  contract: Contract,
  now: { readonly 'README.md': string; readonly 'published.json': string | undefined },
): Readonly<Record<string, string>> {
  const json = (value: unknown) => `${JSON.stringify(value, undefined, 2)}\n`;
  const before = now['published.json'];
  const [head, rest] = now['README.md'].split('<!-- events -->');
  const tail = rest?.split('<!-- /events -->')[1];
  if (tail === undefined) throw new Error('The README of the contract has no place for its events');
  return {
    'external-events.schema.json': json(dataSchema(contract)),
    'asyncapi.json': json(asyncApi(contract)),
    'published.json': json(published(contract, before === undefined ? undefined : (JSON.parse(before) as Published))),
    'README.md': `${head}<!-- events -->\n\n${attributeTable(contract)}\n\n<!-- /events -->${tail}`,
  };
}
