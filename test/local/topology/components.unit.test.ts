import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { topics } from '../../../local/topology/broker.ts';
import { appTopics, declaredTopics, requiredConsumers } from '../../../local/topology/components.ts';

const folder = join(import.meta.dirname, '../../../components');
const read = (file: string) => readFileSync(join(folder, file), 'utf8');

interface Component {
  metadata: { name: string };
  scopes: string[];
  spec: { metadata: { name: string; value?: string; envRef?: string }[] };
}

interface Subscription {
  metadata: { name: string };
  scopes: string[];
  spec: { pubsubname: string; topic: string; metadata: { rawPayload: string }; routes: { default: string } };
}

const documents = <T>(file: string): T[] => parseAllDocuments(read(file)).map((it) => it.toJS());
const components = readdirSync(join(folder, 'jetstream')).flatMap((file) => documents<Component>(`jetstream/${file}`));
const subscriptions = documents<Subscription>('subscriptions.yaml');
const setting = (component: Component, name: string) =>
  component.spec.metadata.find((it) => it.name === name)?.value ?? '';

const topicOf = (component: Component) => setting(component, 'protectedTopics');
/** Charts that own components; their names prefix the components'. */
const owners = ['member', 'workers', 'family-account'];

test('each topic has a component for each chart that publishes or subscribes to it', () => {
  expect(new Set(components.map(topicOf))).toEqual(new Set(topics));
  for (const component of components)
    expect(owners.map((owner) => `${owner}-${topicOf(component)}`)).toContain(component.metadata.name);
});

test('no app has two components for one topic', () => {
  const seen = components.flatMap((component) => component.scopes.map((app) => `${app} ${topicOf(component)}`));
  expect(seen).toEqual([...new Set(seen)]);
});

describe.each(components.map((it) => [it.metadata.name, it] as const))('The component %s', (name, component) => {
  const topic = topicOf(component);

  test('has a consumer for each app, on this topic only', () => {
    expect(setting(component, 'durableName')).toBe(`{appID}-${topic}`);
    expect(setting(component, 'queueGroupName')).toBe(`{appID}-${topic}`);
    expect(setting(component, 'protectedTopics')).toBe(topic);
    expect(setting(component, 'allowedTopics')).toBe(topic);
  });

  test('delays redeliveries, never gives one up, and bounds the unacknowledged messages', () => {
    expect(setting(component, 'ackWait')).toMatch(/^\d+s$/);
    expect(setting(component, 'maxDeliver')).toBe('');
    expect(Number(setting(component, 'maxAckPending'))).toBeGreaterThan(0);
    expect(setting(component, 'concurrencyMode')).toBe('single');
  });

  test('is scoped to the apps that publish or subscribe', () => {
    const subscribers = subscriptions.filter(({ spec }) => spec.pubsubname === name).flatMap(({ scopes }) => scopes);
    const publishers = component.scopes.filter((app) => topic.replace(/-(internal|external)$/, '') === app);
    const granted = (scope: string) =>
      setting(component, scope)
        .split(';')
        .filter(Boolean)
        .map((grant) => grant.replace(`=${topic}`, ''));
    expect(granted('subscriptionScopes').sort()).toEqual(subscribers.sort());
    expect(granted('publishingScopes')).toEqual(publishers);
    expect(component.scopes).toEqual([...new Set([...subscribers, ...publishers])].sort());
  });
});

test('each subscription is named after its app and topic and delivers to the topic’s route', () => {
  for (const { metadata, scopes, spec } of subscriptions) {
    expect(metadata.name).toBe(`${scopes[0]}-${spec.topic}`);
    expect(owners.map((owner) => `${owner}-${spec.topic}`)).toContain(spec.pubsubname);
    expect(spec.routes).toEqual({ default: `/events/${spec.topic}` });
    // Otherwise a message that is not an event would stay in the sidecar indefinitely.
    expect(spec.metadata.rawPayload).toBe('true');
  }
});

test('every delivery is retried until the app answers', () => {
  const { spec } = parse(read('resiliency.yaml'));
  expect(Object.keys(spec.targets.components).sort()).toEqual(components.map(({ metadata }) => metadata.name).sort());
  for (const { inbound, outbound } of Object.values<{ inbound: { retry: string }; outbound: { timeout: string } }>(
    spec.targets.components,
  )) {
    // Any other policy ends after 15 minutes.
    expect(spec.policies.retries[inbound.retry]).toMatchObject({ policy: 'constant', maxRetries: -1 });
    expect(spec.policies.timeouts[outbound.timeout]).toMatch(/^\d+s$/);
  }
});

test('the topics of an app are those of its declared subscriptions', () => {
  expect(declaredTopics('publish-recorder')).toEqual(['member-external', 'member-internal']);
  expect(declaredTopics('member')).toEqual([]);
});

test('the topics that an app publishes and consumes match its Components and Subscriptions', () => {
  const apps = appTopics();
  expect(Object.keys(apps)).toEqual([...new Set(components.flatMap(({ scopes }) => scopes))].sort());
  for (const [app, { consumes }] of Object.entries(apps)) expect([...consumes].sort()).toEqual(declaredTopics(app));
  const own = (app: string) => [`${app}-external`, `${app}-internal`];
  const publishing = Object.entries(apps).filter(([, { publishes }]) => publishes.length > 0);
  expect(publishing.map(([app, { publishes }]) => [app, [...publishes].sort()])).toEqual([
    ['family-account', own('family-account')],
    ['member', own('member')],
  ]);
});

test('existing consumers are given the settings that sidecars request now', () => {
  const requested = requiredConsumers();
  expect(requested.flatMap(({ topic, apps }) => apps.map((app) => `${app}-${topic}`)).sort()).toEqual(
    subscriptions.map(({ metadata }) => metadata.name).sort(),
  );
  for (const { topic, apps, ...settings } of requested) {
    expect(settings).toEqual({ backOffSeconds: [15, 30, 60, 120, 300], maxAckPending: 16 });
    const [component] = components.filter(({ scopes, spec }) => {
      return topicOf({ spec } as Component) === topic && apps.every((app) => scopes.includes(app));
    });
    expect(setting(component!, 'ackWait')).toBe('15s');
    expect(setting(component!, 'durableName')).toBe(`{appID}-${topic}`);
  }
});
