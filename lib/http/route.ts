import type { IncomingHttpHeaders } from 'node:http';
import type { EntityManager } from '@mikro-orm/postgresql';
import { z } from 'zod';
import { assertStorable, assertStrict } from './assert-strict.ts';

/** The authenticated caller of a request. */
export type Principal =
  | { readonly kind: 'anyone' }
  | { readonly kind: 'member'; readonly memberId: string; readonly sessionNumber: string }
  | { readonly kind: 'operator' }
  | { readonly kind: 'reader'; readonly name: string };

export type Access = Principal['kind'];

/** A validated request, as passed to a handler. */
export interface Call<P = unknown, Q = unknown, B = unknown, A extends Access = Access> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly principal: Extract<Principal, { kind: A }>;
  /** A fork for this request only. */
  readonly em: EntityManager;
  readonly headers: IncomingHttpHeaders;
  readonly ip: string;
  /** At most 500 characters, without control characters; empty when the header is missing. */
  readonly userAgent: string;
}

export interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * Id of the person that the answer is about (default: the calling member). When this person withdraws, stored answers
   * with this id are deleted.
   */
  readonly subject?: string;
}

interface Definition<A extends readonly Access[], P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  /** For the API's documentation: imperative verb and noun. */
  readonly summary: string;
  readonly description?: string;
  /** The kinds of principals that may call it; other authenticated callers get a 403. */
  readonly access: A;
  /** Accepts an `Idempotency-Key`: runs once per key, and repeats get the same answer. */
  readonly idempotent?: boolean;
  /**
   * For routes without authentication: anyone with the key could guess the first request (a password) by repeats.
   * Counts failed comparisons and rejects further ones.
   * @returns the result of `isSame`
   */
  readonly guardRepeat?: Guard<Call<z.output<P>, z.output<Q>, z.output<B>, A[number]>>;
  readonly params?: P;
  readonly query?: Q;
  /** Without a schema, only an empty body or `{}` is accepted. */
  readonly body?: B;
  /** By status: the schema of the body, which also drops undeclared fields, or a description when there is no body. */
  readonly responses: Readonly<Record<number, z.ZodType | string>>;
  /** By status: the slugs of problems specific to this route, for the documentation. */
  readonly errors?: Readonly<Record<number, readonly string[]>>;
  handle(call: Call<z.output<P>, z.output<Q>, z.output<B>, A[number]>): Promise<Answer>;
}

type Guard<C> = (call: C, isSame: () => Promise<boolean>) => Promise<boolean>;

/** What a route does, wherever it is mounted. */
export type Endpoint = Omit<
  Definition<readonly Access[], z.ZodType, z.ZodType, z.ZodType>,
  'handle' | 'guardRepeat'
> & {
  handle(call: Call): Promise<Answer>;
  readonly guardRepeat?: Guard<Call>;
};

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
/** Parameters are written `:name`. */
type Path = `/${string}`;

export type Route = Endpoint & { readonly method: Method; readonly path: Path };

/** Declares an endpoint: validation, documentation and handler types come from the same schemas. */
export function endpoint<
  const A extends readonly Access[],
  P extends z.ZodType = z.ZodUndefined,
  Q extends z.ZodType = z.ZodUndefined,
  B extends z.ZodType = z.ZodUndefined,
>(definition: Definition<A, P, Q, B>): Endpoint {
  return definition as unknown as Endpoint;
}

/**
 * Mounts an endpoint.
 * @throws Error when a path parameter has no schema, or a schema accepts unknown fields or U+0000
 */
export function route(method: Method, path: Path, it: Endpoint): Route {
  const { params, query, body } = it;
  const declared = params instanceof z.ZodObject ? Object.keys(params.shape) : [];
  const missing = pathParameters(path).filter((name) => !declared.includes(name));
  if (missing.length > 0) throw new Error(`${method} ${path}: no schema in params for ${missing.join(', ')}`);
  if (query) assertStrict(query, `the query of ${method} ${path}`);
  if (body) assertStrict(body, `the body of ${method} ${path}`);
  for (const [part, schema] of Object.entries({ params, query, body }))
    if (schema) assertStorable(schema, `the ${part} of ${method} ${path}`);
  return { ...it, method, path };
}

/** Returns the names of a path's parameters, in order. */
export function pathParameters(path: string): string[] {
  return [...path.matchAll(/:(\w+)/g)].map(([, name]) => name!);
}
