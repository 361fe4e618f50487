import type { Definition } from './cluster.ts';

/** Fields that the charts set, by resource and version. Kubernetes silently drops fields that a definition lacks. */
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

/** Returns a clause for each field that the charts set and the definition lacks. */
export function unknownFields({ metadata, spec }: Definition): string[] {
  const [version, ...paths] = FIELDS[metadata.name] ?? [];
  if (version === undefined) return [];
  const it = spec.versions.find(({ name, served }) => name === version && served);
  if (!it) return [`does not serve ${version}`];
  return paths
    .filter((path) => !defines(it.schema?.openAPIV3Schema as Schema | undefined, path.split('.')))
    .map((path) => `does not define ${path}, which Kubernetes therefore drops`);
}

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
}

function defines(schema: Schema | undefined, [step, ...rest]: readonly string[]): boolean {
  if (!schema) return false;
  if (step === undefined || schema['x-kubernetes-preserve-unknown-fields']) return true;
  if (step === '[]') return defines(schema.items, rest);
  const { properties, additionalProperties } = schema;
  if (typeof additionalProperties === 'object') return defines(additionalProperties, rest);
  return additionalProperties === true || defines(properties?.[step], rest);
}
