import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMap, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml';
import { renamedValues, replacedValues } from '#process/renamed';

const folder = join(import.meta.dirname, '../charts');

/** The installable charts. The library chart has no values. */
export const charts = ['member', 'workers', 'family-account'] as const;

interface Value {
  readonly path: readonly string[];
  readonly doc: string;
  readonly defaultValue: unknown;
  readonly schema: object;
}

type Schema = { properties?: Record<string, Schema> } & Record<string, unknown>;

/**
 * Reads a chart's values.yaml, documented as for helm-docs: `# -- description` before each value and, if the default
 * does not imply the type, `# @schema {…}` after it. Default rules: numbers are integers from 1 (0 would mean none or
 * no limit) to 999,999 (templates print a million as 1e+06); strings are non-empty unless the default is empty; labels,
 * annotations and selectors are strings. A map without a description is a group. All values are required: an empty key
 * removes the default, and Helm gives no warning. Only values that refer to another group's schema
 * (`#/definitions/<group>`) may be partial.
 * @throws Error for a value without a description
 */
function readValues(chart: string): { values: Value[]; schema: Schema } {
  const document = parseDocument(readFileSync(join(folder, chart, 'values.yaml'), 'utf8'));
  const values: Value[] = [];
  const schema = group(document.contents as YAMLMap<unknown, unknown>, [], values);
  const referred = new Set(JSON.stringify(schema).match(/(?<="#\/definitions\/)\w+/g));
  const definitions = Object.fromEntries([...referred].map((name) => [name, partial(schema.properties![name]!)]));
  // Helm passes the first two to subcharts. `enabled` is for a parent's `condition: <chart>.enabled`; a disabled chart
  // is not rendered.
  Object.assign(schema.properties!, {
    global: { type: 'object' },
    common: { type: 'object' },
    enabled: { const: true, description: 'For the `condition` of a parent chart only.' },
  });
  return { values, schema: referred.size > 0 ? { ...schema, definitions } : schema };
}

/** Returns the schema of a group with all values optional. */
function partial({ required: _, properties, ...schema }: Schema): Schema {
  if (!properties) return schema;
  const parts = Object.entries(properties).map(([name, each]) => [name, each.properties ? partial(each) : each]);
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
      if (!isMap(pair.value)) throw new Error(`${here.join('.')} has no description: add "# -- …" above it`);
      properties[key] = group(pair.value, here, values);
      continue;
    }
    const defaultValue = defaultOf(pair);
    const own = /^ ?@schema (.*)/m.exec(comment)?.[1];
    const { $ref, ...type } = { ...typeOf(key, defaultValue), ...(own ? JSON.parse(own) : {}) };
    const schema = $ref ? { $ref } : { ...type, description: doc };
    properties[key] = schema;
    values.push({ path: here, doc, defaultValue, schema });
  }
  const required = Object.keys(properties);
  return {
    type: 'object',
    additionalProperties: false,
    required,
    properties: { ...properties, ...refused(path, required) },
  };
}

const oldValues: readonly { old: string; name: string; message: string }[] = [
  ...Object.entries(renamedValues).map(([old, name]) => ({ old, name, message: `renamed to ${name}` })),
  ...Object.entries(replacedValues).map(([old, { by, unit }]) => ({
    old,
    name: by,
    message: `replaced by ${by}, in ${unit}`,
  })),
];

/** Returns schemas for the old names of values, so that Helm's error message contains the new name. */
function refused(path: readonly string[], names: readonly string[]): Record<string, Schema> {
  const rows = oldValues.filter(({ name }) => names.some((it) => [...path, it].join('.') === name));
  return Object.fromEntries(rows.map(({ old, message }) => [old.split('.').at(-1)!, { const: message }]));
}

/** Returns the comment above a pair. The parser attaches that of a map's first pair to the map. */
function commentOf(map: YAMLMap<unknown, unknown>, pair: Pair<unknown, unknown>, index: number): string {
  const own = (pair.key as { commentBefore?: string }).commentBefore ?? '';
  return (index === 0 ? `${map.commentBefore ?? ''}\n${own}` : own).split('\n\n').at(-1)!;
}

function defaultOf({ value }: Pair<unknown, unknown>): unknown {
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

/** Returns the chart's values.schema.json, with which Helm validates values: unknown ones are rejected. */
export function valuesSchema(chart: string): string {
  const { schema } = readValues(chart);
  return `${JSON.stringify({ $schema: 'https://json-schema.org/draft-07/schema#', ...schema }, null, 2)}\n`;
}

/** Returns the chart's README.md. */
export function chartReadme(chart: string): string {
  const { values } = readValues(chart);
  const { description } = parseDocument(readFileSync(join(folder, chart, 'Chart.yaml'), 'utf8')).toJS();
  const rows = values.map(({ path, doc, defaultValue }) => {
    const shown = JSON.stringify(defaultValue).replaceAll('|', '\\|');
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
    'Prerequisites and operation: [docs/operate.md](../../docs/operate.md).',
    '',
    `As a dependency of a parent chart it accepts \`global\`, and \`enabled\` for a \`condition: ${chart}.enabled\`. An alias does not change resource names.`,
    '',
    '| value | default | description |',
    '|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
