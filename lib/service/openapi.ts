import { STATUS_CODES } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { problemSchema } from './problem.ts';
import type { Access, Route } from './route.ts';

type Json = Record<string, unknown>;
type Schemas = Record<string, unknown>;

interface Description {
  readonly title: string;
  readonly version: string;
  readonly description: string;
  readonly routes: readonly Route[];
}

/** The OpenAPI 3.1 document of an API, from the schemas that check its requests and answers. */
export function describeApi({ title, version, description, routes }: Description): Json {
  const schemas: Schemas = {};
  toSchema(problemSchema, 'output', schemas);
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    if (paths[path]?.[route.method.toLowerCase()]) throw new Error(`${route.method} ${route.path} is declared twice`);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: describeRoute(route, schemas) };
  }
  const used = new Set(routes.flatMap(({ access }) => access));
  return {
    openapi: '3.1.0',
    info: { title, version, description },
    servers: [{ url: '.' }],
    tags: [...new Set(routes.map(tagOf))].map((name) => ({ name })),
    paths,
    components: { schemas, securitySchemes: securitySchemes(used) },
  };
}

const CREDENTIALS: Record<Exclude<Access, 'anyone'>, string> = {
  member: "The token of a member's session",
  operator: "The operators' credential",
  reader: "Another system's credential, which reads the newest state",
};

function securitySchemes(used: ReadonlySet<Access>): Json {
  const entries = Object.entries(CREDENTIALS).filter(([name]) => used.has(name as Access));
  return Object.fromEntries(
    entries.map(([name, text]) => [name, { type: 'http', scheme: 'bearer', description: text }]),
  );
}

function describeRoute(route: Route, schemas: Schemas): Json {
  const { summary, description, params, query, body, access } = route;
  return {
    operationId: operationId(route),
    tags: [tagOf(route)],
    summary,
    description,
    security: access.map((name) => (name === 'anyone' ? {} : { [name]: [] })),
    parameters: [
      ...parametersIn('path', params),
      ...parametersIn('query', query),
      ...(route.idempotent ? [idempotencyKey] : []),
    ],
    requestBody: body && {
      required: !body.safeParse(undefined).success,
      content: jsonOf(toSchema(body, 'input', schemas)),
    },
    responses: { ...describeResponses(route, schemas), ...describeProblems(route) },
  };
}

/** `getMembersById` for `GET /v1/members/:id`. */
function operationId({ method, path }: Route): string {
  const words = path.split('/').filter((part) => part && !/^v\d+$/.test(part));
  const names = words.map((word) => (word.startsWith(':') ? `By-${word.slice(1)}` : word));
  return `${method.toLowerCase()}-${names.join('-')}`.replace(/-+(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function tagOf({ path }: Route): string {
  return path.split('/').find((part) => part && !/^v\d+$/.test(part)) ?? 'api';
}

function parametersIn(place: 'path' | 'query', schema: z.ZodType | undefined): Json[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = toSchema(schema, 'input', {}) as {
    properties?: Json;
    required?: string[];
  };
  return Object.entries(properties).map(([name, each]) => {
    const { description, ...rest } = each as Json;
    return { name, in: place, required: place === 'path' || required.includes(name), description, schema: rest };
  });
}

function describeResponses({ responses }: Route, schemas: Schemas): Json {
  const described = Object.entries(responses).map(([status, response]) => {
    if (typeof response === 'string') return [status, { description: response }];
    const words = response.meta()?.description ?? STATUS_CODES[Number(status)];
    return [status, { description: words, content: jsonOf(toSchema(response, 'output', schemas)) }];
  });
  return Object.fromEntries(described);
}

const idempotencyKey = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description:
    'Chosen at random by the client, such as a UUID. Repeats with the same key within 24 hours have no further effect and get the same answer.',
  schema: { type: 'string', minLength: 16, maxLength: 255 },
};

const problem = { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } };

/** The problems that follow from how a route is declared, and its own. */
function describeProblems(route: Route): Json {
  const retryAfter = { 'Retry-After': { description: 'When to try again, in seconds', schema: { type: 'integer' } } };
  const described = Object.entries(slugsByStatus(route)).map(([status, slugs]) => {
    const description = `${STATUS_CODES[Number(status)]}: ${slugs.map((slug) => `\`${slug}\``).join(', ')}`;
    return [
      status,
      { description, content: problem, ...(status === '503' || status === '429' ? { headers: retryAfter } : {}) },
    ];
  });
  return Object.fromEntries(described);
}

function slugsByStatus({
  access,
  method,
  params,
  query,
  body,
  idempotent,
  errors = {},
}: Route): Record<number, readonly string[]> {
  const slugs: Record<number, readonly string[]> = { 503: ['database-unavailable', 'try-again'] };
  const add = (status: number, ...more: readonly string[]) => {
    slugs[status] = [...new Set([...(slugs[status] ?? []), ...more])];
  };
  if (idempotent) {
    add(400, 'invalid-idempotency-key');
    add(422, 'idempotency-key-reused');
    add(503, 'busy');
  }
  if (params || query || body) add(400, 'invalid-request');
  if (body) {
    add(400, 'malformed-body');
    add(413, 'body-too-large');
    add(415, 'unsupported-media-type');
  }
  if (!access.includes('anyone')) add(403, 'forbidden');
  if (access.some((name) => name !== 'anyone')) add(401, 'unauthenticated');
  if (method !== 'GET') add(409, 'concurrent-change');
  for (const [status, more] of Object.entries(errors)) add(Number(status), ...more);
  return slugs;
}

function jsonOf(schema: Json): Json {
  return { 'application/json': { schema } };
}

/** A schema for the document; schemas with an id of their own are put among the components and referred to. */
function toSchema(schema: z.ZodType, io: 'input' | 'output', schemas: Schemas): Json {
  const {
    $schema,
    $defs = {},
    ...rest
  } = z.toJSONSchema(schema, { io, override: simplify }) as Json & { $defs?: Json };
  for (const [id, definition] of Object.entries(pointToComponents($defs) as Json)) {
    if (schemas[id] && !isDeepStrictEqual(schemas[id], definition))
      throw new Error(`The schema id ${id} stands for two schemas`);
    schemas[id] = definition;
  }
  return pointToComponents(rest) as Json;

  function simplify({ jsonSchema }: { jsonSchema: z.core.JSONSchema.BaseSchema }): void {
    // A format says it all; its pattern is for machines that don't know formats.
    if (jsonSchema.format) delete jsonSchema.pattern;
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    // Answers may get more fields: clients must not refuse what they don't know.
    if (io === 'output') delete jsonSchema.additionalProperties;
  }
}

function pointToComponents(node: unknown): unknown {
  return JSON.parse(JSON.stringify(node), (key, value) =>
    key === '$ref' && typeof value === 'string' ? value.replace(/^#\/\$defs\//, '#/components/schemas/') : value,
  );
}
