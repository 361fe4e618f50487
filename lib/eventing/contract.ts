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

/** All that was ever published of a contract; nothing in it is ever taken away. */
export interface Published {
  readonly fields: readonly string[];
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
  return { fields: before?.fields ?? Object.keys(contract.data.shape), eventTypes };
}

/** Which attributes may change with which event, as a Markdown table. */
export function attributeTable({ eventTypes }: Contract): string {
  const rows = Object.entries(eventTypes).map(
    ([type, attributes]) => `| \`${type}\` | ${attributes.map((it) => `\`${it}\``).join(', ') || 'none'} |`,
  );
  return ['| event | attributes that may change |', '| --- | --- |', ...rows].join('\n');
}

const text = (description: string, rest: Json = {}): Json => ({ type: 'string', description, ...rest });

/** https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, with the extensions that are used. */
function envelopeSchema(system: System): Json {
  const properties = {
    specversion: { const: '1.0' },
    id: text('The message. A message that is sent again keeps it', { format: 'uuid' }),
    source: { const: sourceOf(system) },
    type: text('What happened'),
    subject: text('Whom it happened to', { format: 'uuid' }),
    time: text('When, in UTC', { format: 'date-time' }),
    datacontenttype: { const: 'application/json' },
    eventid: text('The fact. The same fact may come again as another message: decide by this whether you know it', {
      format: 'uuid',
    }),
    sequence: text('The place of the fact among those of its subject, from 1, without gaps', { pattern: '^\\d{10}$' }),
    target: text('`ALL`, or the app-id of the one subscriber that it is for: pass over what is for somebody else'),
    partitionkey: text('The subject'),
    traceparent: text('The trace in which it happened (W3C Trace Context)'),
    data: { $ref: '#/components/schemas/data' },
  };
  const optional = ['partitionkey', 'traceparent', 'target'];
  return {
    type: 'object',
    properties,
    required: Object.keys(properties).filter((name) => !optional.includes(name)),
  };
}

/** The contract as an AsyncAPI 3.0 document. https://www.asyncapi.com/docs/reference/specification/v3.0.0 */
export function asyncApi(contract: Contract): Json {
  const { system, title, eventTypes } = contract;
  const topic = topicOf(system, 'external');
  const types = Object.keys(eventTypes);
  const { $schema: _, ...data } = dataSchema(contract);
  const message = (type: string) => ({
    name: type,
    summary: `Attributes that may change: ${eventTypes[type]!.join(', ') || 'none'}`,
    contentType: 'application/cloudevents+json',
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
    defaultContentType: 'application/cloudevents+json',
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
      schemas: { envelope: envelopeSchema(system), data },
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
