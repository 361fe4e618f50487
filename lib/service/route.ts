import type { IncomingHttpHeaders } from 'node:http';
import type { EntityManager } from '@mikro-orm/postgresql';
import { z } from 'zod';
import { assertStrict } from './strict.ts';

/** Who is asking. */
export type Principal =
  | { readonly kind: 'anyone' }
  | { readonly kind: 'member'; readonly memberId: string; readonly sessionNumber: string }
  | { readonly kind: 'operator' }
  | { readonly kind: 'reader'; readonly name: string };

export type Access = Principal['kind'];

/** A checked request, as a handler gets it. */
export interface Call<P = unknown, Q = unknown, B = unknown, A extends Access = Access> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly principal: Extract<Principal, { kind: A }>;
  /** A fork for this request alone. */
  readonly em: EntityManager;
  readonly headers: IncomingHttpHeaders;
  readonly ip: string;
  /** At most 500 characters, fit to be stored; empty when none was sent. */
  readonly userAgent: string;
}

export interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Definition<A extends readonly Access[], P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Parameters are written `:name`. */
  readonly path: `/${string}`;
  /** What it does, in a few words, for the API's documentation. */
  readonly summary: string;
  readonly description?: string;
  /** Who may call it; whoever is known and not listed is forbidden it. */
  readonly access: A;
  /** Takes an `Idempotency-Key`: with the same one it is done once, and repeats get the same answer. */
  readonly idempotent?: boolean;
  readonly params?: P;
  readonly query?: Q;
  /** Without one, only an empty body or `{}` is taken. */
  readonly body?: B;
  /** By status: the schema of the body, which also keeps anything else from leaving, or words when there is no body. */
  readonly responses: Readonly<Record<number, z.ZodType | string>>;
  /** By status: the slugs of the problems of this route's own, for the documentation. */
  readonly errors?: Readonly<Record<number, readonly string[]>>;
  handle(call: Call<z.output<P>, z.output<Q>, z.output<B>, A[number]>): Promise<Answer>;
}

export type Route = Omit<Definition<readonly Access[], z.ZodType, z.ZodType, z.ZodType>, 'handle'> & {
  handle(call: Call): Promise<Answer>;
};

/**
 * Declares one route: its checks, its documentation and its handler, from the same schemas.
 * @throws when a parameter of the path has no schema or a schema would let unknown fields pass
 */
export function route<
  const A extends readonly Access[],
  P extends z.ZodType = z.ZodUndefined,
  Q extends z.ZodType = z.ZodUndefined,
  B extends z.ZodType = z.ZodUndefined,
>(definition: Definition<A, P, Q, B>): Route {
  const { method, path, params, query, body } = definition;
  const declared = params instanceof z.ZodObject ? Object.keys(params.shape) : [];
  const missing = pathParameters(path).filter((name) => !declared.includes(name));
  if (missing.length > 0) throw new Error(`${method} ${path}: no schema in params for ${missing.join(', ')}`);
  if (query) assertStrict(query, `the query of ${method} ${path}`);
  if (body) assertStrict(body, `the body of ${method} ${path}`);
  return definition as unknown as Route;
}

/** The names of a path's parameters, in order. */
export function pathParameters(path: string): string[] {
  return [...path.matchAll(/:(\w+)/g)].map(([, name]) => name!);
}
