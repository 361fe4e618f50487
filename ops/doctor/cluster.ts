import { Agent, request } from 'undici';
import { z } from 'zod';

/** Address and credentials of a cluster's API server. */
export interface KubernetesApi {
  readonly url: string;
  readonly token?: string | undefined;
  /** Certificate authority of the server, PEM. */
  readonly ca?: string | undefined;
}

const named = z.object({ name: z.string(), labels: z.record(z.string(), z.string()).default({}) });
const container = z.object({ name: z.string() });
const pod = z.object({
  metadata: named.extend({
    annotations: z.record(z.string(), z.string()).default({}),
    deletionTimestamp: z.string().optional(),
  }),
  spec: z.object({ containers: z.array(container), initContainers: z.array(container).default([]) }),
  status: z.object({
    conditions: z
      .array(z.object({ type: z.string(), status: z.string(), lastTransitionTime: z.string().optional() }))
      .default([]),
  }),
});
const deployment = z.object({
  metadata: named,
  spec: z.object({
    replicas: z.int().default(1),
    template: z.object({
      metadata: z.object({ annotations: z.record(z.string(), z.string()).default({}) }).prefault({}),
    }),
  }),
  status: z.object({ readyReplicas: z.int().default(0) }),
});
const component = z.object({
  metadata: named,
  scopes: z.array(z.string()).default([]),
  // Components of other owners may be empty.
  spec: z
    .object({
      type: z.string().default(''),
      metadata: z.array(z.object({ name: z.string(), value: z.unknown().optional() })).default([]),
    })
    .prefault({}),
});
const subscription = z.object({
  metadata: named,
  scopes: z.array(z.string()).default([]),
  // Loose: fields that the charts do not set are reported as findings.
  spec: z
    .looseObject({
      pubsubname: z.string().default(''),
      topic: z.string().default(''),
      metadata: z.record(z.string(), z.string()).default({}),
      routes: z.looseObject({ default: z.string().optional() }).default({}),
    })
    .prefault({}),
});
const retry = z.object({ policy: z.string().optional(), maxRetries: z.int().optional() });
const direction = z.object({ retry: z.string().optional() });
const resiliency = z.object({
  metadata: named,
  scopes: z.array(z.string()).default([]),
  spec: z
    .object({
      policies: z.object({ retries: z.record(z.string(), retry).default({}) }).prefault({}),
      targets: z
        .object({ components: z.record(z.string(), z.object({ inbound: direction.optional() })).default({}) })
        .prefault({}),
    })
    .prefault({}),
});
const definition = z.object({
  metadata: named,
  spec: z.object({
    versions: z.array(
      z.object({
        name: z.string(),
        served: z.boolean(),
        schema: z.object({ openAPIV3Schema: z.unknown() }).optional(),
      }),
    ),
  }),
});

export type Pod = z.output<typeof pod>;
export type Deployment = z.output<typeof deployment>;
export type Component = z.output<typeof component>;
export type Subscription = z.output<typeof subscription>;
export type Resiliency = z.output<typeof resiliency>;
export type Definition = z.output<typeof definition>;

/** Whether a resource applies to an app: without scopes it applies to all. */
export const isFor = ({ scopes }: { readonly scopes: readonly string[] }, app: string): boolean =>
  scopes.length === 0 || scopes.includes(app);

/** Whether any Subscription subscribes the app to the topic. */
export const isSubscribed = ({ subscriptions }: Pick<Cluster, 'subscriptions'>, app: string, topic: string): boolean =>
  subscriptions.some((it) => isFor(it, app) && it.spec.topic === topic);

/** The resources of a namespace that concern the apps, and the cluster's definitions of Dapr's resources. */
export interface Cluster {
  readonly pods: readonly Pod[];
  readonly deployments: readonly Deployment[];
  readonly components: readonly Component[];
  readonly subscriptions: readonly Subscription[];
  readonly resiliencies: readonly Resiliency[];
  /** Undefined without permission to read them: they belong to the cluster, not to the namespace. */
  readonly definitions: readonly Definition[] | undefined;
}

/** Dapr's resources that the charts create. */
const DEFINITIONS = ['components', 'configurations', 'resiliencies', 'subscriptions'];
const TIMEOUT_MS = 10_000;

/** Reads a namespace. @throws Error that names what could not be read, and why */
export async function readCluster(api: KubernetesApi, namespace: string): Promise<Cluster> {
  const dispatcher = new Agent({ connect: { ca: api.ca } });
  try {
    return await read(api, namespace, dispatcher);
  } finally {
    await dispatcher.close();
  }
}

async function read(api: KubernetesApi, namespace: string, dispatcher: Agent): Promise<Cluster> {
  const get = async (path: string): Promise<unknown> => {
    const { statusCode, body } = await request(api.url + path, {
      dispatcher,
      headers: { accept: 'application/json', ...(api.token && { authorization: `Bearer ${api.token}` }) },
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
    }).catch((error: unknown) => {
      throw new Error(`Kubernetes at ${api.url} cannot be queried: ${causeOf(error)}`);
    });
    const answer = (await body.json()) as { message?: string };
    if (statusCode !== 200)
      throw new Refused(`Kubernetes answered ${statusCode} to ${path}: ${answer.message}`, statusCode);
    return answer;
  };
  const list = async <T>(kind: z.ZodType<T>, group: string, plural: string, ownOnly = false): Promise<T[]> => {
    const selector = ownOnly ? '?labelSelector=app.kubernetes.io/part-of%3Dmember-system' : '';
    const answer = await get(`${group}/namespaces/${encodeURIComponent(namespace)}/${plural}${selector}`);
    return parse(z.object({ items: z.array(kind) }), answer, plural).items;
  };
  const define = (plural: string) =>
    get(`/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${plural}.dapr.io`).then((it) =>
      parse(definition, it, plural),
    );
  const [pods, deployments, components, subscriptions, resiliencies, definitions] = await Promise.all([
    list(pod, '/api/v1', 'pods', true),
    list(deployment, '/apis/apps/v1', 'deployments', true),
    list(component, '/apis/dapr.io/v1alpha1', 'components'),
    list(subscription, '/apis/dapr.io/v2alpha1', 'subscriptions'),
    list(resiliency, '/apis/dapr.io/v1alpha1', 'resiliencies'),
    Promise.all(DEFINITIONS.map(define)).catch((error: unknown) => {
      if (error instanceof Refused && error.status === 403) return undefined;
      throw error;
    }),
  ]);
  return { pods, deployments, components, subscriptions, resiliencies, definitions };
}

function parse<T>(schema: z.ZodType<T>, answer: unknown, what: string): T {
  const { success, data, error } = schema.safeParse(answer);
  if (success) return data;
  throw new Error(`Kubernetes returned ${what} in an unexpected format: ${z.prettifyError(error)}`);
}

/**
 * Returns the root cause of a request error: the outer message may be just "fetch failed", and an AggregateError has
 * only a code.
 */
export function causeOf(error: unknown): string {
  const { cause, message, code } = error as Error & { code?: string };
  return cause ? causeOf(cause) : message || code || 'unknown error';
}

class Refused extends Error {
  readonly status: number;
  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}
