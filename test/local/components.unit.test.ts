import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { topics } from '../../local/broker.ts';
import { askedConsumers, declaredTopics } from '../../local/components.ts';

const folder = join(import.meta.dirname, '../../components');
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
/** Of a chart's components, by the chart's name. */
const owners = ['member', 'workers', 'family-account'];

test('each topic has a component of its own for each chart that has to do with it', () => {
  expect(new Set(components.map(topicOf))).toEqual(new Set(topics));
  for (const component of components)
    expect(owners.map((owner) => `${owner}-${topicOf(component)}`)).toContain(component.metadata.name);
});

test('no app sees a topic twice', () => {
  const seen = components.flatMap((component) => component.scopes.map((app) => `${app} ${topicOf(component)}`));
  expect(seen).toEqual([...new Set(seen)]);
});

describe.each(components.map((it) => [it.metadata.name, it] as const))('the component %s', (name, component) => {
  const topic = topicOf(component);

  test('has a consumer for each app, on this topic only', () => {
    expect(setting(component, 'durableName')).toBe(`{appID}-${topic}`);
    expect(setting(component, 'queueGroupName')).toBe(`{appID}-${topic}`);
    expect(setting(component, 'protectedTopics')).toBe(topic);
    expect(setting(component, 'allowedTopics')).toBe(topic);
  });

  test('neither loops over a refused delivery nor gives one up, and bounds what a sidecar has in its hands', () => {
    expect(setting(component, 'ackWait')).toMatch(/^\d+s$/);
    expect(setting(component, 'maxDeliver')).toBe('');
    expect(Number(setting(component, 'maxAckPending'))).toBeGreaterThan(0);
    expect(setting(component, 'concurrencyMode')).toBe('single');
  });

  test('is open to those who publish or subscribe, and to nobody else', () => {
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

test('each subscription is called after its app and topic, and delivers to the route of that topic', () => {
  for (const { metadata, scopes, spec } of subscriptions) {
    expect(metadata.name).toBe(`${scopes[0]}-${spec.topic}`);
    expect(owners.map((owner) => `${owner}-${spec.topic}`)).toContain(spec.pubsubname);
    expect(spec.routes).toEqual({ default: `/events/${spec.topic}` });
    // Else what is no event would stay in the sidecar's hands for ever.
    expect(spec.metadata.rawPayload).toBe('true');
  }
});

test('every broker’s delivery is retried until the app answers', () => {
  const { spec } = parse(read('resiliency.yaml'));
  expect(Object.keys(spec.targets.components).sort()).toEqual(components.map(({ metadata }) => metadata.name).sort());
  for (const { inbound, outbound } of Object.values<{ inbound: { retry: string }; outbound: { timeout: string } }>(
    spec.targets.components,
  )) {
    // Any other policy ends after a quarter of an hour.
    expect(spec.policies.retries[inbound.retry]).toMatchObject({ policy: 'constant', maxRetries: -1 });
    expect(spec.policies.timeouts[outbound.timeout]).toMatch(/^\d+s$/);
  }
});

test('what a sidecar waits to hear is what is declared for its app', () => {
  expect(declaredTopics('publish-recorder')).toEqual(['member-external', 'member-internal']);
  expect(declaredTopics('member')).toEqual([]);
});

test('consumers from before are given what sidecars ask for today, each of them', () => {
  const asked = askedConsumers();
  expect(asked.flatMap(({ topic, apps }) => apps.map((app) => `${app}-${topic}`)).sort()).toEqual(
    subscriptions.map(({ metadata }) => metadata.name).sort(),
  );
  for (const { topic, apps, ...settings } of asked) {
    expect(settings).toEqual({ backOffSeconds: [15, 30, 60, 120, 300], maxAckPending: 16 });
    const [component] = components.filter(({ scopes, spec }) => {
      return topicOf({ spec } as Component) === topic && apps.every((app) => scopes.includes(app));
    });
    expect(setting(component!, 'ackWait')).toBe('15s');
    expect(setting(component!, 'durableName')).toBe(`{appID}-${topic}`);
  }
});
