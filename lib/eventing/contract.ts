import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { type System, sourceOf, topicOf } from './cloud-event.ts';

type Json = Record<string, unknown>;

/** Contract of a system's external topic. Types may be added; nothing is ever changed or removed. */
export interface Contract {
  readonly system: System;
  readonly title: string;
  /** Schema of the `data` of every event: the same fields for all types. */
  readonly data: z.ZodObject;
  /** By event type, the attribute types that may change with it. */
  readonly eventTypes: Readonly<Record<string, readonly string[]>>;
}

/** Everything that was ever published of a contract. Entries are never changed or removed. */
export interface Published {
  readonly topic: string;
  readonly contentType: string;
  /** JSON Schema of the whole message, without titles, descriptions and the list of types, which grows. */
  readonly message: Json;
  readonly eventTypes: Readonly<Record<string, readonly string[]>>;
}

/** Returns the JSON Schema of the `data` of an event. */
export function dataSchema({ data }: Contract): Json {
  return z.toJSONSchema(data) as Json;
}

/**
 * Adds the new event and attribute types of a contract to what was published before.
 * @param before undefined for a contract that was never published
 */
export function extendPublished(contract: Contract, before: Published | undefined): Published {
  const eventTypes = { ...before?.eventTypes };
  for (const [type, attributes] of Object.entries(contract.eventTypes))
    eventTypes[type] = [...new Set([...(eventTypes[type] ?? []), ...attributes])].sort();
  return { ...shapeOf(contract), ...before, eventTypes };
}

/**
 * Compares a contract with what was published of it.
 * @returns one sentence for each violation, with its remedy; empty when the contract is compatible
 */
export function violations(contract: Contract, before: Published): string[] {
  const { eventTypes: types, ...oldForm } = before;
  const changed = differences(oldForm, shapeOf(contract)).map(
    (path) =>
      `${path} differs from what was published: restore it. Types may be added, fields never; another form needs a new topic.`,
  );
  const missing = Object.entries(types).flatMap(([type, attributes]) => {
    const current = contract.eventTypes[type];
    if (!current) return [`${type} was published: restore it, even if it is never emitted again.`];
    return attributes
      .filter((it) => !current.includes(it))
      .map((it) => `${it} of ${type} was published: restore it, even if it never changes again.`);
  });
  return [...changed, ...missing];
}

/** Returns the parts of a contract that may never change. */
function shapeOf(contract: Contract): Omit<Published, 'eventTypes'> {
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

/** Returns the paths at which two JSON values differ. */
function differences(before: unknown, now: unknown, path = ''): string[] {
  if (!isObject(before) || !isObject(now)) return isDeepStrictEqual(before, now) ? [] : [path];
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return names.flatMap((name) => differences(before[name], now[name], path ? `${path}.${name}` : name));
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Returns a Markdown table of the attributes that may change with each event. */
export function attributeTable({ eventTypes }: Contract): string {
  const rows = Object.entries(eventTypes).map(
    ([type, attributes]) => `| \`${type}\` | ${attributes.map((it) => `\`${it}\``).join(', ') || 'none'} |`,
  );
  return ['| event | attributes that may change |', '| --- | --- |', ...rows].join('\n');
}

const CONTENT_TYPE = 'application/cloudevents+json';

/**
 * Returns the schema of the whole message, with the extensions in use and no others.
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
 */
export const messageOf = ({ system, data }: Contract) =>
  z.strictObject({
    specversion: z.literal('1.0'),
    id: z.uuid().describe('Id of the message; a message that is sent again keeps it'),
    source: z.literal(sourceOf(system)),
    type: z.string().describe('Event type'),
    subject: z.uuid().describe('Id of the aggregate'),
    time: z.iso.datetime().describe('When the event happened, in UTC'),
    datacontenttype: z.literal('application/json'),
    eventid: z
      .uuid()
      .describe('Id of the event. The same event may arrive in several messages: detect duplicates by this id'),
    sequence: z
      .string()
      .regex(/^\d{10}$/)
      .describe('Sequence of the event within its subject, from 1, without gaps'),
    target: z
      .string()
      .optional()
      .describe(
        '`ALL`, or the app-id of the only subscriber that the message is for: ignore messages for other targets',
      ),
    partitionkey: z.string().optional().describe('Same as subject'),
    traceparent: z.string().optional().describe('Trace in which the event happened (W3C Trace Context)'),
    traceid: z.string().optional().describe('Same as traceparent; Dapr reads this attribute'),
    tracestate: z.string().optional().describe('Added by Dapr'),
    topic: z.string().optional().describe('Added by Dapr: the topic'),
    pubsubname: z.string().optional().describe('Added by Dapr: the pub/sub component'),
    data,
  });

/** Returns the contract as an AsyncAPI 3.0 document. https://www.asyncapi.com/docs/reference/specification/v3.0.0 */
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
        'Events, as CloudEvents 1.0 in structured form. Event types and attribute types may be added: ignore unknown ones. Nothing is ever changed or removed.',
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

/**
 * Generates the files beside a contract.
 * @param now their present contents; in README.md only the table of events is replaced
 * @returns their new contents, by file name
 * @throws Error when README.md lacks the markers of that table
 */
export function contractFiles(
  contract: Contract,
  now: { readonly 'README.md': string; readonly 'published.json': string | undefined },
): Readonly<Record<string, string>> {
  const json = (value: unknown) => `${JSON.stringify(value, undefined, 2)}\n`;
  const before = now['published.json'];
  const [head, rest] = now['README.md'].split('<!-- events -->');
  const tail = rest?.split('<!-- /events -->')[1];
  if (tail === undefined)
    throw new Error('README.md of the contract lacks the markers <!-- events --> and <!-- /events -->: add them');
  return {
    'external-events.schema.json': json(dataSchema(contract)),
    'asyncapi.json': json(asyncApi(contract)),
    'published.json': json(
      extendPublished(contract, before === undefined ? undefined : (JSON.parse(before) as Published)),
    ),
    'README.md': `${head}<!-- events -->\n\n${attributeTable(contract)}\n\n<!-- /events -->${tail}`,
  };
}
