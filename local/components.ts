import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

/** The Components of a laptop and what belongs to them. */
export const components = join(import.meta.dirname, '../components');
export const jetstreamComponents = join(components, 'jetstream');

/** The topics that components/subscriptions.yaml declares for an app, in alphabetical order. */
export function declaredTopics(appId: string): string[] {
  return subscriptions()
    .flatMap(({ scopes, spec }) => (scopes.includes(appId) ? [spec.topic] : []))
    .sort();
}

/** What the sidecars of some apps ask of their consumers of a topic. */
export interface AskedConsumers {
  readonly topic: string;
  readonly apps: readonly string[];
  readonly backOffSeconds: readonly number[];
  readonly maxAckPending: number;
}

/**
 * What components/ has sidecars ask of JetStream, by Component.
 * @throws when a Component has its times in something else than seconds
 */
export function askedConsumers(): AskedConsumers[] {
  const files = readdirSync(jetstreamComponents).map((file) => readFileSync(join(jetstreamComponents, file), 'utf8'));
  return files.flatMap(documents<Component>).flatMap(({ metadata: { name }, spec: { metadata } }) => {
    const heard = subscriptions().filter(({ spec }) => spec.pubsubname === name);
    const given = Object.fromEntries(metadata.map(({ name, value }) => [name, value ?? '']));
    return [...new Set(heard.map(({ spec }) => spec.topic))].map((topic) => ({
      topic,
      apps: heard.filter(({ spec }) => spec.topic === topic).flatMap(({ scopes }) => scopes),
      backOffSeconds: (given.backOff ?? '').split(',').map((each) => seconds(each, `backOff of the Component ${name}`)),
      maxAckPending: Number(given.maxAckPending),
    }));
  });
}

interface Component {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly metadata: readonly { readonly name: string; readonly value?: string }[] };
}

interface Subscription {
  readonly scopes: readonly string[];
  readonly spec: { readonly pubsubname: string; readonly topic: string };
}

const subscriptions = () => documents<Subscription>(readFileSync(join(components, 'subscriptions.yaml'), 'utf8'));

const documents = <T>(yaml: string): T[] => parseAllDocuments(yaml).map((it) => it.toJS());

function seconds(duration: string, where: string): number {
  const [, digits] = /^([1-9]\d*)s$/.exec(duration) ?? [];
  if (!digits) throw new Error(`${where} has ${JSON.stringify(duration)}: write it in seconds, as 60s`);
  return Number(digits);
}
