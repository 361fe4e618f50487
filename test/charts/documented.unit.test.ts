import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { chartReadme, charts, valuesSchema } from '../../docs/charts.ts';

const root = join(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const { version, dependencies } = JSON.parse(read('package.json'));

describe.each(charts)('the chart %s', (chart) => {
  test('has a README and a schema made from today’s values', () => {
    expect(read(`charts/${chart}/README.md`)).toBe(chartReadme(chart));
    expect(read(`charts/${chart}/values.schema.json`)).toBe(valuesSchema(chart));
  });

  test('has the version of everything else', () => {
    expect(parse(read(`charts/${chart}/Chart.yaml`))).toMatchObject({ version, appVersion: version });
  });
});

test('the image is made with the Node that runs here', () => {
  expect(read('Dockerfile')).toContain(`node:${dependencies.node}-bookworm-slim`);
});

test.each(['databases', 'identity-provider'])('the development cluster’s %s runs this version', (name) => {
  const images = parseAllDocuments(read(`k8s/${name}.yaml`)).flatMap(
    (document) => document.toJS().spec.template?.spec.containers[0].image ?? [],
  );
  expect(new Set(images)).toEqual(new Set([`member-system:${version}`]));
});
