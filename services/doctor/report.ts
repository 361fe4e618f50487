import { z } from 'zod';
import type { Subscriber } from '#eventing/subscribers';
import { causeOf, type KubernetesApi, readCluster } from './cluster.ts';
import { examine } from './examine.ts';
import { type Finding, finding, LATER } from './finding.ts';
import { unheardYet } from './subscriptions.ts';

export interface DoctorOptions {
  readonly kubernetes: KubernetesApi;
  readonly namespace: string;
  /** The system's API. */
  readonly apiUrl: string;
  /** Why it cannot be asked at all, where that is known. */
  readonly unreachable?: Error;
  readonly operatorToken: string;
  /** App-ids of the system. */
  readonly apps: readonly string[];
}

const answer = z.object({ subscribers: z.custom<Subscriber[]>(Array.isArray) });

/**
 * Looks at one system in a namespace. That its API does not answer is a finding, and keeps only what it knows from being looked at.
 * @throws Error when the cluster cannot be asked
 */
export async function diagnose({
  kubernetes,
  namespace,
  apiUrl,
  unreachable,
  operatorToken,
  apps,
}: DoctorOptions): Promise<{
  readonly findings: readonly Finding[];
  /** What could not be looked at, or not be told yet, a sentence each. */
  readonly unseen: readonly string[];
}> {
  const [cluster, heard] = await Promise.all([
    readCluster(kubernetes, namespace),
    unreachable ?? ask(apiUrl, operatorToken).catch((error: unknown) => new Error(causeOf(error))),
  ]);
  const isSilent = heard instanceof Error;
  const subscribers = isSilent ? undefined : heard.filter(({ appId }) => apps.includes(appId));
  const now = new Date();
  const findings = examine({ apps, cluster, subscribers, now });
  const unseen = (subscribers ?? []).flatMap((it) => unheardYet(it, now));
  if (isSilent) {
    findings.unshift(
      finding(
        `API ${apiUrl}`,
        `does not answer: ${heard.message}`,
        findings.length > 0
          ? LATER
          : `kubectl get pods --selector app.kubernetes.io/name=${apps[0]}\n# and see that it knows the OPERATOR_TOKEN`,
      ),
    );
    unseen.push('What sidecars have loaded and what was heard is known to the API only, and was not looked at.');
  }
  if (!cluster.definitions)
    unseen.push(
      "Dapr's CustomResourceDefinitions may not be read (value doctor.readDefinitions): whether they are too old is not known.",
    );
  return { findings, unseen };
}

async function ask(apiUrl: string, operatorToken: string): Promise<readonly Subscriber[]> {
  const path = '/v1/subscribers';
  const headers = { authorization: `Bearer ${operatorToken}` };
  const response = await fetch(apiUrl + path, { headers, signal: AbortSignal.timeout(10_000) });
  const text = await response.text();
  if (!response.ok) throw new Error(`GET ${path} answered ${response.status}: ${text}`);
  const { success, data } = answer.safeParse(JSON.parse(text));
  if (!success) throw new Error(`GET ${path} answered no subscribers: ${text.slice(0, 200)}`);
  return data.subscribers;
}

/** What was found, for people. */
export function print({ findings, unseen }: Awaited<ReturnType<typeof diagnose>>): string {
  const lines = findings.flatMap(({ where, what, remedy }, index) => {
    // What mends several at once is said behind the last of them.
    const isSaidBelow = findings[index + 1]?.remedy === remedy;
    return [`${where} ${what}`, ...(isSaidBelow ? [] : remedy.split('\n').map((line) => `    ${line}`))];
  });
  const verdict =
    findings.length === 0 ? 'Nothing is found that keeps events from being heard.' : `${findings.length} found.`;
  return [...lines, verdict, ...unseen].join('\n');
}
