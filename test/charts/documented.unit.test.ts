import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { common, type Setting } from '#service/config';
import { chartReadme, charts, valuesSchema } from '../../docs/charts.ts';
import { settings as canary } from '../../services/canary/settings.ts';
import { housekeepingSettings as housekeeping, settings as relay } from '../../services/relay/settings.ts';
import { settings as streams } from '../../services/streams/settings.ts';

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

test.each(['database', 'identity-provider'])('the development cluster’s %s runs this version', (name) => {
  const images = parseAllDocuments(read(`k8s/${name}.yaml`)).flatMap(
    (document) => document.toJS().spec.template?.spec.containers[0].image ?? [],
  );
  expect(new Set(images)).toEqual(new Set([`member-system:${version}`]));
});

/** The values that a program is given as they are, and the setting that takes them. */
const given: Record<string, Setting<number>> = {
  'broker.silenceSeconds': common.SILENCE_SECONDS,
  'broker.repairSeconds': common.REPAIR_AFTER_SECONDS,
  'broker.jetstream.streams.replicas': streams.STREAM_REPLICAS,
  'broker.jetstream.streams.maxMiB': streams.STREAM_MAX_MIB,
  'broker.jetstream.streams.maxAgeHours': streams.STREAM_MAX_AGE_HOURS,
  'shutdown.endpointsSeconds': common.PART_SECONDS,
  'shutdown.lingerSeconds': common.LINGER_SECONDS,
  'shutdown.drainSeconds': common.DRAIN_SECONDS,
  'relay.resendAfterSeconds': relay.RESEND_AFTER_SECONDS,
  'housekeeping.keepPublishedDays': housekeeping.KEEP_PUBLISHED_DAYS,
  'canary.timeoutSeconds': canary.TIMEOUT_SECONDS,
};

test.each(Object.entries(given))('what the charts let through as %s, the program takes', (path, { schema }) => {
  const found = charts.flatMap((chart) =>
    numbersOf(JSON.parse(valuesSchema(chart))).flatMap(([name, schema]) => (name === path ? schema : [])),
  );
  expect(found.length).toBeGreaterThan(0);
  for (const { minimum, maximum } of found) {
    expect(schema.safeParse(`${minimum}`).success).toBe(true);
    expect(schema.safeParse(`${maximum}`).success).toBe(true);
  }
});

test('a number has no more digits than a template writes: 1000000 would come out as 1e+06', () => {
  for (const chart of charts)
    for (const [path, { maximum }] of numbersOf(JSON.parse(valuesSchema(chart))))
      expect([path, maximum! < 1_000_000]).toEqual([path, true]);
});

test('a number may be nought where that means something, and nowhere else', () => {
  const zeros = charts.flatMap((chart) =>
    numbersOf(JSON.parse(valuesSchema(chart))).filter(([, { minimum }]) => !minimum),
  );
  expect(new Set(zeros.map(([path]) => path))).toEqual(
    new Set(['api.replicas', 'defaults.replicas', 'migrations.retries']),
  );
});

interface Schema {
  readonly type?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
}

function numbersOf({ properties = {} }: Schema, above = ''): [string, Schema][] {
  return Object.entries(properties).flatMap(([name, schema]): [string, Schema][] =>
    schema.type === 'integer' ? [[above + name, schema]] : numbersOf(schema, `${above}${name}.`),
  );
}
