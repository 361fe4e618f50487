import { z } from 'zod';
import type { Subscriber } from '#eventing/subscribers';
import { type KubernetesApi, readCluster } from './cluster.ts';
import { examine, type Finding } from './examine.ts';

export interface DoctorOptions {
  readonly kubernetes: KubernetesApi;
  readonly namespace: string;
  /** The system's API. */
  readonly apiUrl: string;
  readonly operatorToken: string;
  /** App-ids of the system. */
  readonly apps: readonly string[];
}

const answer = z.object({ subscribers: z.custom<Subscriber[]>(Array.isArray) });

/**
 * Looks at one system in a namespace.
 * @throws Error when the cluster or the API cannot be asked
 */
export async function diagnose({ kubernetes, namespace, apiUrl, operatorToken, apps }: DoctorOptions): Promise<{
  readonly findings: readonly Finding[];
  /** What could not be looked at, a sentence each. */
  readonly unseen: readonly string[];
}> {
  const [cluster, subscribers] = await Promise.all([readCluster(kubernetes, namespace), ask(apiUrl, operatorToken)]);
  const unseen = cluster.definitions
    ? []
    : ["Dapr's CustomResourceDefinitions may not be read: whether they are too old is not known."];
  return { findings: examine({ apps, cluster, subscribers, now: new Date() }), unseen };
}

async function ask(apiUrl: string, operatorToken: string): Promise<readonly Subscriber[]> {
  const path = '/v1/subscribers';
  const headers = { authorization: `Bearer ${operatorToken}` };
  const response = await fetch(apiUrl + path, { headers, signal: AbortSignal.timeout(10_000) });
  const text = await response.text();
  if (!response.ok) throw new Error(`GET ${apiUrl}${path} answered ${response.status}: ${text}`);
  return answer.parse(JSON.parse(text)).subscribers;
}

/** What was found, for people. */
export function print({ findings, unseen }: Awaited<ReturnType<typeof diagnose>>): string {
  const lines = findings.map(({ where, what, remedy }) => `${where} ${what}\n    ${remedy}`);
  const verdict = findings.length === 0 ? 'Nothing keeps events from being heard.' : `${findings.length} found.`;
  return [...lines, ...unseen, verdict].join('\n');
}
