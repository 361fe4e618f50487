import { z } from 'zod';
import type { SubscriberStatus } from '#eventing/subscriber-status';
import { causeOf, type KubernetesApi, readCluster } from './cluster.ts';
import { examineDiscrepancies, readDiscrepancies } from './discrepancies.ts';
import { examine } from './examine.ts';
import { FIX_OTHERS_FIRST, type Finding, finding, remedy } from './finding.ts';
import { examineMissing, readMissing } from './missing.ts';
import { notReceivedYet } from './subscriptions.ts';

export interface DoctorOptions {
  readonly kubernetes: KubernetesApi;
  readonly namespace: string;
  /** Base URL of the API's operations port. */
  readonly apiUrl: string;
  /** Set if the API is known to be unreachable: the reason. */
  readonly unreachable?: Error;
  readonly operatorToken: string;
  /** App-ids of the system. */
  readonly apps: readonly string[];
}

const answer = z.object({ subscribers: z.custom<SubscriberStatus[]>(Array.isArray) });

/**
 * Examines one system in a namespace. If its API cannot be queried, that is a finding, and only the cluster is
 * examined.
 * @throws Error if Kubernetes cannot be queried
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
  /** What could not be checked, or is undecided yet, one sentence each. */
  readonly unseen: readonly string[];
}> {
  const [cluster, status] = await Promise.all([
    readCluster(kubernetes, namespace),
    unreachable ?? readSubscribers(apiUrl, operatorToken).catch((error: unknown) => new Error(causeOf(error))),
  ]);
  const hasFailed = status instanceof Error;
  const subscribers = hasFailed ? undefined : status.filter(({ appId }) => apps.includes(appId));
  const now = new Date();
  const findings = examine({ apps, cluster, subscribers, now });
  const read = (path: string) => get(apiUrl, path, operatorToken);
  const compared = hasFailed ? undefined : await readDiscrepancies(read);
  const missing = hasFailed ? undefined : await readMissing(read);
  findings.push(...examineDiscrepancies(compared), ...(missing ? examineMissing(missing) : []));
  const unseen = [
    ...(subscribers ?? []).flatMap((it) => notReceivedYet(it, now)),
    ...(compared?.unseen ? [compared.unseen] : []),
    ...(missing?.unseen ?? []),
  ];
  if (hasFailed) {
    findings.push(
      finding(
        `API ${apiUrl}`,
        `cannot be queried: ${status.message}`,
        findings.length > 0
          ? FIX_OTHERS_FIRST
          : remedy(
              `Check that the pods of ${apps[0]} are ready and have the doctor's OPERATOR_TOKEN`,
              'api-does-not-answer',
            ),
      ),
    );
    unseen.push('Not checked: what sidecars have loaded and what apps have received. Only the API knows that.');
  }
  if (!cluster.definitions)
    unseen.push(
      "Not checked: whether Dapr's CustomResourceDefinitions are outdated. The value doctor.readDefinitions allows reading them.",
    );
  return { findings, unseen };
}

async function readSubscribers(apiUrl: string, operatorToken: string): Promise<readonly SubscriberStatus[]> {
  const path = '/v1/subscribers';
  const text = await get(apiUrl, path, operatorToken);
  const { success, data } = answer.safeParse(JSON.parse(text));
  if (!success) throw new Error(`GET ${path} returned an unexpected body: ${text.slice(0, 200)}`);
  return data.subscribers;
}

async function get(apiUrl: string, path: string, operatorToken: string): Promise<string> {
  const headers = { authorization: `Bearer ${operatorToken}` };
  const response = await fetch(apiUrl + path, { headers, signal: AbortSignal.timeout(10_000) });
  const text = await response.text();
  if (!response.ok) throw new Error(`GET ${path} answered ${response.status}: ${text}`);
  return text;
}

/** Formats the findings for the terminal. */
export function print({ findings, unseen }: Awaited<ReturnType<typeof diagnose>>): string {
  const lines = findings.flatMap(({ where, what, remedy }, index) => {
    // A remedy for several findings is printed once, after the last of them.
    const isRepeated = findings[index + 1]?.remedy === remedy;
    return [`${where} ${what}`, ...(isRepeated ? [] : [`    ${remedy}`])];
  });
  const count = findings.length;
  const verdict = count === 0 ? 'No problems found.' : `${count} ${count === 1 ? 'problem' : 'problems'} found.`;
  return [...lines, verdict, ...unseen].join('\n');
}
