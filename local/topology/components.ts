import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { AppTopics } from '../../ops/jetstream/accounts.ts';

/** Folders of the Components, Subscriptions and Resiliency for local runs. */
export const components = join(import.meta.dirname, '../../components');
export const jetstreamComponents = join(components, 'jetstream');

/** Returns the topics that components/subscriptions.yaml declares for an app, sorted. */
export function declaredTopics(appId: string): string[] {
  return subscriptions()
    .flatMap(({ scopes, spec }) => (scopes.includes(appId) ? [spec.topic] : []))
    .sort();
}

/** Consumers of a topic, with the settings that the Component declares for them. */
export interface RequiredConsumers {
  readonly topic: string;
  readonly apps: readonly string[];
  readonly backOffSeconds: readonly number[];
  readonly maxAckPending: number;
}

/**
 * Returns the JetStream consumers that components/ declares, by Component.
 * @throws Error if a Component has a duration in another unit than seconds
 */
export function requiredConsumers(): RequiredConsumers[] {
  return jetstream().flatMap(({ metadata: { name }, spec: { metadata } }) => {
    const declared = subscriptions().filter(({ spec }) => spec.pubsubname === name);
    const values = valuesOf(metadata);
    return [...new Set(declared.map(({ spec }) => spec.topic))].map((topic) => ({
      topic,
      apps: declared.filter(({ spec }) => spec.topic === topic).flatMap(({ scopes }) => scopes),
      backOffSeconds: (values.backOff ?? '').split(',').map((each) => seconds(each, `backOff of Component ${name}`)),
      maxAckPending: Number(values.maxAckPending),
    }));
  });
}

/** Returns the topics that the Components' scopes allow each app, by app-id. */
export function appTopics(): Record<string, AppTopics> {
  const grants = jetstream().map(({ spec }) => valuesOf(spec.metadata));
  const topicsOf = (app: string, scopes: 'publishingScopes' | 'subscriptionScopes') =>
    grants
      .flatMap((values) => (values[scopes] ?? '').split(';'))
      .flatMap((grant) => (grant.startsWith(`${app}=`) ? grant.slice(app.length + 1).split(',') : []));
  const apps = [...new Set(jetstream().flatMap(({ scopes }) => scopes))].sort();
  return Object.fromEntries(
    apps.map((app) => [
      app,
      { publishes: topicsOf(app, 'publishingScopes'), consumes: topicsOf(app, 'subscriptionScopes') },
    ]),
  );
}

interface Component {
  readonly scopes: readonly string[];
  readonly metadata: { readonly name: string };
  readonly spec: { readonly metadata: readonly { readonly name: string; readonly value?: string }[] };
}

interface Subscription {
  readonly scopes: readonly string[];
  readonly spec: { readonly pubsubname: string; readonly topic: string };
}

const subscriptions = () => documents<Subscription>(readFileSync(join(components, 'subscriptions.yaml'), 'utf8'));

const jetstream = () =>
  readdirSync(jetstreamComponents).flatMap((file) =>
    documents<Component>(readFileSync(join(jetstreamComponents, file), 'utf8')),
  );

const valuesOf = (metadata: Component['spec']['metadata']): Readonly<Record<string, string>> =>
  Object.fromEntries(metadata.map(({ name, value }) => [name, value ?? '']));

const documents = <T>(yaml: string): T[] => parseAllDocuments(yaml).map((it) => it.toJS());

function seconds(duration: string, where: string): number {
  const [, digits] = /^([1-9]\d*)s$/.exec(duration) ?? [];
  if (!digits) throw new Error(`${where} is ${JSON.stringify(duration)}: give it in seconds, such as 60s`);
  return Number(digits);
}
