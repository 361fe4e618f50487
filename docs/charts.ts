import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMap, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml';

const folder = join(import.meta.dirname, '../charts');

/** The charts that people install; the library beside them has no values. */
export const charts = ['member', 'workers', 'family-account'] as const;

interface Value {
  readonly path: readonly string[];
  readonly doc: string;
  readonly standard: unknown;
  readonly schema: object;
}

type Schema = { properties?: Record<string, Schema> } & Record<string, unknown>;

/**
 * What a chart's values.yaml says, in the notation of helm-docs: `# -- what it is` before each value, and where its default does not tell
 * its type, `# @schema {…}` after that. A number is whole and at least 1 (as a time or a limit, nought is nothing or no limit) and less than a
 * million (as 1e+06 a template would write it); a string is not empty, unless it is by default; labels, annotations and selectors are strings.
 * A value without a word is a group of values. All values have to be there: a key with nothing under it takes the default away, and Helm says
 * nothing of that. Only what refers to another group's schema (`#/definitions/<group>`) may have some of its values.
 * @throws for a value that nothing is said about
 */
function readValues(chart: string): { values: Value[]; schema: Schema } {
  const document = parseDocument(readFileSync(join(folder, chart, 'values.yaml'), 'utf8'));
  const values: Value[] = [];
  const schema = group(document.contents as YAMLMap<unknown, unknown>, [], values);
  const referred = new Set(JSON.stringify(schema).match(/(?<="#\/definitions\/)\w+/g));
  const definitions = Object.fromEntries([...referred].map((name) => [name, partly(schema.properties![name]!)]));
  // Helm itself passes these on.
  Object.assign(schema.properties!, { global: { type: 'object' }, common: { type: 'object' } });
  return { values, schema: referred.size > 0 ? { ...schema, definitions } : schema };
}

/** The schema of some of a group's values. */
function partly({ required: _, properties, ...schema }: Schema): Schema {
  if (!properties) return schema;
  const parts = Object.entries(properties).map(([name, each]) => [name, each.properties ? partly(each) : each]);
  return { ...schema, properties: Object.fromEntries(parts) };
}

function group(map: YAMLMap<unknown, unknown>, path: readonly string[], values: Value[]): Schema {
  const properties: Record<string, Schema> = {};
  for (const [index, pair] of map.items.entries()) {
    const key = String((pair.key as { value: unknown }).value);
    const here = [...path, key];
    const comment = commentOf(map, pair, index);
    const [, doc] = /^ ?-- (.*)/m.exec(comment) ?? [];
    if (doc === undefined) {
      if (!isMap(pair.value)) throw new Error(`Nothing is said about ${here.join('.')}`);
      properties[key] = group(pair.value, here, values);
      continue;
    }
    const standard = standardOf(pair);
    const own = /^ ?@schema (.*)/m.exec(comment)?.[1];
    const { $ref, ...type } = { ...typeOf(key, standard), ...(own ? JSON.parse(own) : {}) };
    const schema = $ref ? { $ref } : { ...type, description: doc };
    properties[key] = schema;
    values.push({ path: here, doc, standard, schema });
  }
  return { type: 'object', additionalProperties: false, required: Object.keys(properties), properties };
}

/** What is written above a pair: with the first one of a map it is the map's. */
function commentOf(map: YAMLMap<unknown, unknown>, pair: Pair<unknown, unknown>, index: number): string {
  const own = (pair.key as { commentBefore?: string }).commentBefore ?? '';
  return (index === 0 ? `${map.commentBefore ?? ''}\n${own}` : own).split('\n\n').at(-1)!;
}

function standardOf({ value }: Pair<unknown, unknown>): unknown {
  return isScalar(value) ? value.value : (value as { toJSON(): unknown }).toJSON();
}

function typeOf(key: string, value: unknown): Schema {
  if (Array.isArray(value)) return { type: 'array' };
  if (typeof value === 'string') return value === '' ? { type: 'string' } : { type: 'string', minLength: 1 };
  if (/(labels|annotations|nodeSelector)$/i.test(key))
    return { type: 'object', additionalProperties: { type: 'string' } };
  if (typeof value === 'number') return { type: 'integer', minimum: 1, maximum: 999_999 };
  return { type: typeof value };
}

/** The chart's values.schema.json, against which Helm holds what people give: a value that it does not know is refused. */
export function valuesSchema(chart: string): string {
  const { schema } = readValues(chart);
  return `${JSON.stringify({ $schema: 'https://json-schema.org/draft-07/schema#', ...schema }, null, 2)}\n`;
}

/** The chart's README.md. */
export function chartReadme(chart: string): string {
  const { values } = readValues(chart);
  const { description } = parseDocument(readFileSync(join(folder, chart, 'Chart.yaml'), 'utf8')).toJS();
  const rows = values.map(({ path, doc, standard }) => {
    const shown = JSON.stringify(standard).replaceAll('|', '\\|');
    return `| \`${path.join('.')}\` | \`${shown}\` | ${doc.replaceAll('|', '\\|')} |`;
  });
  return [
    `# ${chart}`,
    '',
    description,
    '',
    '```sh',
    `helm upgrade --install ${chart} charts/${chart} --namespace member-system --values your-values.yaml --wait --timeout 15m`,
    '```',
    '',
    'What has to be there before, and how to operate it: [docs/operate.md](../../docs/operate.md).',
    '',
    '| value | default | what it is |',
    '|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
