import { Agent, request } from 'undici';
import { z } from 'zod';

/** How to ask a cluster's API server. */
export interface KubernetesApi {
  readonly url: string;
  readonly token?: string | undefined;
  /** Certificate of who has signed its own, PEM. */
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
  // What others have made may have nothing in it.
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
  // What is more than this is of interest as well.
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

/** Whether an app's sidecars take notice of it: without scopes, everybody's do. */
export const isFor = ({ scopes }: { readonly scopes: readonly string[] }, app: string): boolean =>
  scopes.length === 0 || scopes.includes(app);

/** Whether a Subscription says that an app hears a topic. */
export const isSubscribed = ({ subscriptions }: Pick<Cluster, 'subscriptions'>, app: string, topic: string): boolean =>
  subscriptions.some((it) => isFor(it, app) && it.spec.topic === topic);

/** What a namespace holds of ours, and what the cluster knows of Dapr's resources. */
export interface Cluster {
  readonly namespace: string;
  readonly pods: readonly Pod[];
  readonly deployments: readonly Deployment[];
  readonly components: readonly Component[];
  readonly subscriptions: readonly Subscription[];
  readonly resiliencies: readonly Resiliency[];
  /** Undefined when it may not be read: it is the cluster's, not the namespace's. */
  readonly definitions: readonly Definition[] | undefined;
}

/** Dapr's resources that the charts make. */
const DEFINITIONS = ['components', 'configurations', 'resiliencies', 'subscriptions'];
const TIMEOUT_MS = 10_000;

/** Reads all of it. @throws Error that says what could not be read, and why */
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
      throw new Error(`Kubernetes at ${api.url} does not answer: ${causeOf(error)}`);
    });
    const answer = (await body.json()) as { message?: string };
    if (statusCode !== 200)
      throw new Refused(`Kubernetes answered ${statusCode} to ${path}: ${answer.message}`, statusCode);
    return answer;
  };
  const list = async <T>(kind: z.ZodType<T>, group: string, plural: string, ours = false): Promise<T[]> => {
    const selector = ours ? '?labelSelector=app.kubernetes.io/part-of%3Dmember-system' : '';
    const answer = await get(`${group}/namespaces/${encodeURIComponent(namespace)}/${plural}${selector}`);
    return understand(z.object({ items: z.array(kind) }), answer, plural).items;
  };
  const define = (plural: string) =>
    get(`/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${plural}.dapr.io`).then((it) =>
      understand(definition, it, plural),
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
  return { namespace, pods, deployments, components, subscriptions, resiliencies, definitions };
}

function understand<T>(schema: z.ZodType<T>, answer: unknown, what: string): T {
  const { success, data, error } = schema.safeParse(answer);
  if (success) return data;
  throw new Error(`Kubernetes describes ${what} in a way that is not known here: ${z.prettifyError(error)}`);
}

/** Of what could not be asked: some errors say "fetch failed" and have the reason further in, in one case without words. */
export function causeOf(error: unknown): string {
  const { cause, message, code } = error as Error & { code?: string };
  return cause ? causeOf(cause) : message || code || 'for no reason given';
}

class Refused extends Error {
  readonly status: number;
  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}
