import { z } from 'zod';
import { route } from '#http/http';
import { text } from '#http/schema';
import { describeApi } from '../../../lib/http/openapi.ts';
import { startApi, type TestApi } from './api.ts';

let api: TestApi;
// biome-ignore lint/suspicious/noExplicitAny: a document is walked through
let document: any;
beforeAll(async () => {
  api = await startApi();
  document = await (await fetch(`${api.url}/openapi.json`)).json();
});
afterAll(() => api[Symbol.asyncDispose]());

// biome-ignore lint/suspicious/noExplicitAny: a document is walked through
const operations = (): any[] => Object.values(document.paths).flatMap((path) => Object.values(path as object));

/** Returns all values of a key, at any depth. */
function valuesOf(node: unknown, key: string): unknown[] {
  if (typeof node !== 'object' || node === null) return [];
  return Object.entries(node).flatMap(([name, child]) => [...(name === key ? [child] : []), ...valuesOf(child, key)]);
}

test('the document has a title and version, and each operation has a unique id', () => {
  expect(document).toMatchObject({ openapi: '3.1.0', info: { title: 'Pets <&>', version: '1.0.0' } });
  const ids = operations().map(({ operationId }) => operationId);
  expect(ids).toEqual([
    'postPets',
    'getPetsById',
    'deletePetsById',
    'postPetsByIdNaps',
    'postPetsByIdWakings',
    'getFailuresByName',
  ]);
});

test('every reference resolves', () => {
  const references = [...new Set(valuesOf(document, '$ref'))] as string[];
  expect(references.sort()).toEqual(['#/components/schemas/Pet', '#/components/schemas/Problem']);
  for (const name of ['Pet', 'Problem']) expect(document.components.schemas).toHaveProperty(name);
  expect(valuesOf(document, '$schema').concat(valuesOf(document, '$defs'))).toEqual([]);
});

test('every path parameter is described, and every response has a description', () => {
  for (const [path, methods] of Object.entries(document.paths)) {
    const names = [...path.matchAll(/{(\w+)}/g)].map(([, name]) => name);
    // biome-ignore lint/suspicious/noExplicitAny: a document is walked through
    for (const { parameters, responses } of Object.values(methods as Record<string, any>)) {
      const described = parameters.filter(({ in: place }: { in: string }) => place === 'path');
      expect(described.map(({ name }: { name: string }) => name)).toEqual(names);
      for (const response of Object.values(responses)) expect(response).toHaveProperty('description');
    }
  }
});

test('a body is described as it is validated', () => {
  const { requestBody } = document.paths['/v1/pets'].post;
  expect(requestBody.required).toBe(true);
  expect(requestBody.content['application/json'].schema).toMatchObject({
    additionalProperties: false,
    required: ['name'],
    properties: { name: { type: 'string', minLength: 1, maxLength: 20 }, email: { format: 'email', maxLength: 254 } },
  });
});

test('a body refuses unknown fields, an answer may get more of them', () => {
  const bodies = Object.values(document.paths).flatMap((methods) =>
    // biome-ignore lint/suspicious/noExplicitAny: a document is walked through
    Object.values(methods as Record<string, any>),
  );
  const answers = bodies.map(({ responses }) => JSON.stringify(responses));
  expect(answers.filter((answer) => answer.includes('additionalProperties'))).toEqual([]);
  expect(JSON.stringify(document.components.schemas)).not.toContain('additionalProperties');
  expect(JSON.stringify(bodies.map(({ requestBody }) => requestBody))).toContain('"additionalProperties":false');
});

test('the allowed callers and the resulting problems are described', () => {
  expect(document.paths['/v1/pets'].post.security).toEqual([{}]);
  const { security, responses } = document.paths['/v1/pets/{id}'].get;
  expect(security).toEqual([{ member: [] }]);
  expect(Object.keys(responses)).toEqual(['200', '400', '401', '403', '503']);
  expect(document.paths['/v1/pets'].post.responses[409].description).toBe(
    'Conflict: `concurrent-change`, `name-taken`',
  );
});

test('the docs page loads nothing from other hosts and runs no inline script', async () => {
  for (const path of ['/', '/docs']) expect((await fetch(`${api.url}${path}`)).url).toBe(`${api.url}/docs/`);
  const page = await (await fetch(`${api.url}/docs/`)).text();
  expect(page).toContain('<title>Pets &lt;&amp;></title>');
  expect(page).not.toMatch(/https?:|<script>|style=/);
  for (const [, file] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
    const response = await fetch(`${api.url}/docs/${file}`);
    expect([response.status, (await response.arrayBuffer()).byteLength > 100]).toEqual([200, true]);
  }
});

describe('A route declaration is refused at start:', () => {
  const base = {
    summary: 'x',
    access: ['anyone'],
    responses: { 204: 'x' },
    handle: async () => ({ status: 204 }),
  } as const;
  const post = (given: object, path: `/${string}` = '/v1/pets') => route('POST', path, { ...base, ...given });

  test('a body or a nested object that accepts unknown fields', () => {
    expect(() => post({ body: z.object({ name: z.string() }) })).toThrow('z.strictObject');
    expect(() => post({ body: z.strictObject({ home: z.object({ city: z.string() }) }) })).toThrow('/properties/home');
  });

  test.each([
    ['a path', { params: z.strictObject({ name: z.string().max(9) }) }],
    ['a query', { query: z.strictObject({ name: z.string().min(5).optional() }) }],
    ['a body', { body: z.strictObject({ names: z.array(z.strictObject({ name: z.string() })).default([]) }) }],
  ])('%s with a string that accepts U+0000', (_, definition) => {
    expect(() => post({ params: z.strictObject({ name: text({ max: 9 }) }), ...definition }, '/v1/pets/:name')).toThrow(
      /accepts U\+0000 at ".*\/name": declare it with text\(\)/,
    );
  });

  test('a path parameter without a schema', () => {
    expect(() => post({}, '/v1/pets/:id')).toThrow('no schema in params for id');
  });

  test('the same route twice, or one schema id for two schemas', () => {
    const about = { title: 'x', version: '1', description: 'x' };
    const answers = (schema: z.ZodType) => post({ responses: { 200: schema } });
    const other = { ...answers(z.object({ b: z.string() }).meta({ id: 'Same' })), path: '/v1/others' } as const;
    expect(() => describeApi({ ...about, routes: [post({}), post({})] })).toThrow('declared twice');
    expect(() =>
      describeApi({ ...about, routes: [answers(z.object({ a: z.string() }).meta({ id: 'Same' })), other] }),
    ).toThrow('Duplicate schema id');
  });
});
