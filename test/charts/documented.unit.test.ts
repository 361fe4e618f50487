import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { common } from '#process/common-settings';
import type { Setting } from '#process/config';
import { chartReadme, charts, valuesSchema } from '../../docs/charts.ts';
import { settings as canary } from '../../ops/canary/settings.ts';
import { settings as housekeeping } from '../../ops/housekeeping/settings.ts';
import { settings as streams } from '../../ops/jetstream/settings.ts';
import { settings as relay } from '../../services/relay/settings.ts';

const root = join(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const { version, license, dependencies } = JSON.parse(read('package.json'));

describe.each(charts)('the chart %s', (chart) => {
  test('has a README and a schema generated from its current values', () => {
    expect(read(`charts/${chart}/README.md`)).toBe(chartReadme(chart));
    expect(read(`charts/${chart}/values.schema.json`)).toBe(valuesSchema(chart));
  });

  test('has the project’s version and licence, and its own name in an annotation', () => {
    expect(parse(read(`charts/${chart}/Chart.yaml`))).toMatchObject({
      version,
      appVersion: version,
      annotations: { 'artifacthub.io/license': license, 'member-system/chart': chart },
    });
  });
});

test('the image has the Node version of package.json', () => {
  expect(read('Dockerfile')).toContain(`node:${dependencies.node}-bookworm-slim`);
});

test.each(['database', 'identity-provider'])('the development cluster’s %s runs this version', (name) => {
  const images = parseAllDocuments(read(`k8s/${name}.yaml`)).flatMap(
    (document) => document.toJS().spec.template?.spec.containers[0].image ?? [],
  );
  expect(new Set(images)).toEqual(new Set([`member-system:${version}`]));
});

/** Values that programs get unchanged, each with the setting that reads it. */
const passedOn: Record<string, Setting<number>> = {
  'broker.subscriptionStallSeconds': common.SUBSCRIPTION_STALL_SECONDS,
  'broker.reconcileAfterSeconds': common.RECONCILE_AFTER_SECONDS,
  'consumers.attempts': common.CONSUMER_ATTEMPTS,
  'consumers.backoffMs': common.CONSUMER_BACKOFF_MS,
  'broker.jetstream.streams.replicas': streams.STREAM_REPLICAS,
  'broker.jetstream.streams.maxMiB': streams.STREAM_MAX_MIB,
  'broker.jetstream.streams.maxAgeHours': streams.STREAM_MAX_AGE_HOURS,
  'shutdown.delaySeconds': common.SHUTDOWN_DELAY_SECONDS,
  'shutdown.sidecarDrainSeconds': common.SIDECAR_DRAIN_SECONDS,
  'shutdown.timeoutSeconds': common.SHUTDOWN_TIMEOUT_SECONDS,
  'relay.resendAfterSeconds': relay.RESEND_AFTER_SECONDS,
  'housekeeping.keepPublishedDays': housekeeping.KEEP_PUBLISHED_DAYS,
  'canary.timeoutSeconds': canary.TIMEOUT_SECONDS,
};

test.each(Object.entries(passedOn))('the program accepts the charts’ limits of %s', (path, { schema }) => {
  const found = charts.flatMap((chart) =>
    numbersOf(JSON.parse(valuesSchema(chart))).flatMap(([name, schema]) => (name === path ? schema : [])),
  );
  expect(found.length).toBeGreaterThan(0);
  for (const { minimum, maximum } of found) {
    expect(schema.safeParse(`${minimum}`).success).toBe(true);
    expect(schema.safeParse(`${maximum}`).success).toBe(true);
  }
});

test('numbers stay below 1000000, which a template would print as 1e+06', () => {
  for (const chart of charts)
    for (const [path, { maximum }] of numbersOf(JSON.parse(valuesSchema(chart))))
      expect([path, maximum! < 1_000_000]).toEqual([path, true]);
});

test('only numbers for which zero has a meaning may be zero', () => {
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
