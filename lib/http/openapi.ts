import { STATUS_CODES } from 'node:http';
import type { z } from 'zod';
import {
  type CreateDocumentOptions,
  createDocument,
  type ZodOpenApiOperationObject,
  type ZodOpenApiPathsObject,
  type ZodOpenApiResponseObject,
} from 'zod-openapi';
import { problemSchema } from './problem.ts';
import type { Access, Route } from './route.ts';

interface Description {
  readonly title: string;
  readonly version: string;
  readonly description: string;
  readonly routes: readonly Route[];
}

/**
 * Creates the OpenAPI 3.1 document of an API from the schemas that validate its requests and answers.
 * @throws Error when a route is declared twice or two schemas have the same id
 */
export function describeApi({ title, version, description, routes }: Description): object {
  const paths: ZodOpenApiPathsObject = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    const method = route.method.toLowerCase() as Lowercase<Route['method']>;
    if (paths[path]?.[method]) throw new Error(`${route.method} ${route.path} is declared twice`);
    paths[path] = { ...paths[path], [method]: describeRoute(route) };
  }
  const used = new Set(routes.flatMap(({ access }) => access));
  const info = { title, version, description };
  const tags = [...new Set(routes.map(tagOf))].map((name) => ({ name }));
  const components = { securitySchemes: securitySchemes(used) };
  return createDocument(
    { openapi: '3.1.0', info, servers: [{ url: '.' }], tags, paths, components },
    { override: simplify },
  );
}

const CREDENTIALS: Record<Exclude<Access, 'anyone'>, string> = {
  member: "Token of a member's session",
  operator: 'Operator token',
  reader: 'Reader token of another system, to read the newest state',
};

function securitySchemes(used: ReadonlySet<Access>) {
  const entries = Object.entries(CREDENTIALS).filter(([name]) => used.has(name as Access));
  return Object.fromEntries(
    entries.map(([name, text]) => [name, { type: 'http' as const, scheme: 'bearer', description: text }]),
  );
}

function describeRoute(route: Route): ZodOpenApiOperationObject {
  const { summary, description, params, query, body, access } = route;
  return {
    operationId: operationId(route),
    tags: [tagOf(route)],
    summary,
    description,
    security: access.map((name) => (name === 'anyone' ? {} : { [name]: [] })),
    requestParams: {
      ...(params && { path: params }),
      ...(query && { query }),
    } as ZodOpenApiOperationObject['requestParams'],
    parameters: route.idempotent ? [idempotencyKey] : [],
    requestBody: body && { required: !body.safeParse(undefined).success, content: jsonOf(body) },
    responses: { ...describeResponses(route), ...describeProblems(route) },
  };
}

/** Returns, for example, `getMembersById` for `GET /v1/members/:id`. */
function operationId({ method, path }: Route): string {
  const words = path.split('/').filter((part) => part && !/^v\d+$/.test(part));
  const names = words.map((word) => (word.startsWith(':') ? `By-${word.slice(1)}` : word));
  return `${method.toLowerCase()}-${names.join('-')}`.replace(/-+(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function tagOf({ path }: Route): string {
  return path.split('/').find((part) => part && !/^v\d+$/.test(part)) ?? 'api';
}

function describeResponses({ responses }: Route): Record<string, ZodOpenApiResponseObject> {
  const described = Object.entries(responses).map(([status, response]) => {
    if (typeof response === 'string') return [status, { description: response }];
    const text = response.meta()?.description ?? STATUS_CODES[Number(status)];
    return [status, { description: text, content: jsonOf(response) }];
  });
  return Object.fromEntries(described);
}

const idempotencyKey = {
  name: 'Idempotency-Key',
  in: 'header' as const,
  required: false,
  description:
    'A random value chosen by the client, such as a UUID. Repeats with the same key within 24 hours have no further effect and get the same answer.',
  schema: { type: 'string' as const, minLength: 16, maxLength: 255 },
};

const problem = { 'application/problem+json': { schema: problemSchema } };

/** Describes the problems implied by a route's declaration and those that it lists itself. */
function describeProblems(route: Route): Record<string, ZodOpenApiResponseObject> {
  const retryAfter = {
    'Retry-After': { description: 'Seconds to wait before a retry', schema: { type: 'integer' as const } },
  };
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

const jsonOf = (schema: z.ZodType) => ({ 'application/json': { schema } });

const simplify: CreateDocumentOptions['override'] = ({ jsonSchema, io }) => {
  // A pattern is redundant beside a format: it only serves tools without support for the format.
  if (jsonSchema.format) delete jsonSchema.pattern;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  // Later releases may add fields to answers: clients must ignore unknown fields.
  if (io === 'output') delete jsonSchema.additionalProperties;
};
