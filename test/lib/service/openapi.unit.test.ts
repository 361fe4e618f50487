import { z } from 'zod';
import { route } from '#service/http';
import { describeApi } from '#service/openapi';
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

/** Every value of a key, however deep. */
function valuesOf(node: unknown, key: string): unknown[] {
  if (typeof node !== 'object' || node === null) return [];
  return Object.entries(node).flatMap(([name, child]) => [...(name === key ? [child] : []), ...valuesOf(child, key)]);
}

test('the document names itself, and every operation has an id of its own', () => {
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

test('every reference leads somewhere', () => {
  const references = [...new Set(valuesOf(document, '$ref'))] as string[];
  expect(references.sort()).toEqual(['#/components/schemas/Pet', '#/components/schemas/Problem']);
  for (const name of ['Pet', 'Problem']) expect(document.components.schemas).toHaveProperty(name);
  expect(valuesOf(document, '$schema').concat(valuesOf(document, '$defs'))).toEqual([]);
});

test('every parameter of a path is described, and every answer has words', () => {
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

test('a body is described as it is checked', () => {
  const { requestBody } = document.paths['/v1/pets'].post;
  expect(requestBody.required).toBe(true);
  expect(requestBody.content['application/json'].schema).toMatchObject({
    additionalProperties: false,
    required: ['name'],
    properties: { name: { type: 'string', minLength: 1, maxLength: 20 }, email: { format: 'email', maxLength: 254 } },
  });
});

test('who may call is described, and so are the problems that follow', () => {
  expect(document.paths['/v1/pets'].post.security).toEqual([{}]);
  const { security, responses } = document.paths['/v1/pets/{id}'].get;
  expect(security).toEqual([{ member: [] }, { operator: [] }]);
  expect(Object.keys(responses)).toEqual(['200', '400', '401', '403', '503']);
  expect(document.paths['/v1/pets'].post.responses[409].description).toBe(
    'Conflict: `concurrent-change`, `name-taken`',
  );
});

test('the page to try it loads nothing from elsewhere and runs no script of its own', async () => {
  for (const path of ['/', '/docs']) expect((await fetch(`${api.url}${path}`)).url).toBe(`${api.url}/docs/`);
  const page = await (await fetch(`${api.url}/docs/`)).text();
  expect(page).toContain('<title>Pets &lt;&amp;></title>');
  expect(page).not.toMatch(/https?:|<script>|style=/);
  for (const [, file] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
    const response = await fetch(`${api.url}/docs/${file}`);
    expect([response.status, (await response.arrayBuffer()).byteLength > 100]).toEqual([200, true]);
  }
});

describe('a mistake in a declaration is found when the process starts:', () => {
  const base = {
    method: 'POST',
    path: '/v1/pets',
    summary: 'x',
    access: ['anyone'],
    responses: { 204: 'x' },
    handle: async () => ({ status: 204 }),
  } as const;

  test('a body, or something in it, that takes unknown fields', () => {
    expect(() => route({ ...base, body: z.object({ name: z.string() }) })).toThrow('z.strictObject');
    expect(() => route({ ...base, body: z.strictObject({ home: z.object({ city: z.string() }) }) })).toThrow(
      '/properties/home',
    );
  });

  test('a parameter of the path without a schema', () => {
    expect(() => route({ ...base, path: '/v1/pets/:id' })).toThrow('no schema in params for id');
  });

  test('the same route twice, or one schema id for two schemas', () => {
    const about = { title: 'x', version: '1', description: 'x' };
    const answers = (schema: z.ZodType) => route({ ...base, responses: { 200: schema } });
    const other = { ...answers(z.object({ b: z.string() }).meta({ id: 'Same' })), path: '/v1/others' } as const;
    expect(() => describeApi({ ...about, routes: [route(base), route(base)] })).toThrow('declared twice');
    expect(() =>
      describeApi({ ...about, routes: [answers(z.object({ a: z.string() }).meta({ id: 'Same' })), other] }),
    ).toThrow('two schemas');
  });
});
