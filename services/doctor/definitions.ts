import type { Definition } from './cluster.ts';

/** The fields that the charts set, by resource and version: a definition that does not know one throws it away without a word. */
const FIELDS: Readonly<Record<string, readonly [version: string, ...paths: string[]]>> = {
  'components.dapr.io': ['v1alpha1', 'scopes', 'spec.metadata.[].envRef', 'spec.type', 'spec.version'],
  'configurations.dapr.io': [
    'v1alpha1',
    'spec.accessControl.policies.[].operations.[].httpVerb',
    'spec.api.allowed.[].protocol',
    'spec.features.[].enabled',
    'spec.metrics.http.increasedCardinality',
  ],
  'resiliencies.dapr.io': [
    'v1alpha1',
    'scopes',
    'spec.policies.retries.*.duration',
    'spec.policies.retries.*.maxRetries',
    'spec.policies.retries.*.policy',
    'spec.policies.timeouts',
    'spec.targets.components.*.inbound.retry',
    'spec.targets.components.*.outbound.timeout',
  ],
  'subscriptions.dapr.io': ['v2alpha1', 'scopes', 'spec.metadata', 'spec.pubsubname', 'spec.routes.default'],
};

/** What a definition does not know of that which the charts set, a clause each. */
export function unknownFields({ metadata, spec }: Definition): string[] {
  const [version, ...paths] = FIELDS[metadata.name] ?? [];
  if (version === undefined) return [];
  const it = spec.versions.find(({ name, served }) => name === version && served);
  if (!it) return [`does not serve ${version}`];
  return paths
    .filter((path) => !knows(it.schema?.openAPIV3Schema as Schema | undefined, path.split('.')))
    .map((path) => `does not know ${path}, which it throws away`);
}

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
}

function knows(schema: Schema | undefined, [step, ...rest]: readonly string[]): boolean {
  if (!schema) return false;
  if (step === undefined || schema['x-kubernetes-preserve-unknown-fields']) return true;
  if (step === '[]') return knows(schema.items, rest);
  const { properties, additionalProperties } = schema;
  if (typeof additionalProperties === 'object') return knows(additionalProperties, rest);
  return additionalProperties === true || knows(properties?.[step], rest);
}
