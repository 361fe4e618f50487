import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NAMESPACE } from '../../k8s/cluster.ts';
import type { Shell } from '../../k8s/shell.ts';
import { eventually } from '../support/eventually.ts';

export interface Outcome {
  readonly rounds: number;
  readonly requests: number;
  /** Milliseconds. */
  readonly slowest: number;
  /** Number of failures, by message. */
  readonly failures: Readonly<Record<string, number>>;
}

export interface LoadOptions {
  /** `kept` (default): reused for later requests; `closed`: one per request. */
  readonly connections?: 'kept' | 'closed';
  /** Namespace of both systems (default that of the development cluster). */
  readonly namespace?: string;
}

/**
 * Runs clients of both APIs in their own pod for as long as `meanwhile` takes.
 */
export async function underLoad(
  shell: Shell,
  meanwhile: () => Promise<void>,
  { connections = 'kept', namespace = NAMESPACE }: LoadOptions = {},
): Promise<Outcome> {
  const name = `load-${Math.random().toString(36).slice(2, 8)}`;
  const kubectl = (...args: string[]) => shell.kubectl('--namespace', namespace, ...args);
  const image = await kubectl(
    'get',
    'deployment',
    'member',
    '--output=jsonpath={.spec.template.spec.containers[0].image}',
  );
  await shell.run(['kubectl', 'create', '--filename', '-'], {
    input: JSON.stringify(pod({ name, namespace }, image, connections)),
  });
  try {
    await kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s');
    await meanwhile();
    await kubectl('exec', name, '--', 'node', '-e', 'process.kill(1, "SIGTERM")');
    return await eventually(async () => JSON.parse((await kubectl('logs', name)).trim()), { timeoutMs: 30_000 });
  } finally {
    await kubectl('delete', 'pod', name, '--now', '--ignore-not-found');
  }
}

function pod(metadata: { name: string; namespace: string }, image: string, connections: string) {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, labels: { 'app.kubernetes.io/name': 'load' } },
    spec: {
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'load',
          image,
          imagePullPolicy: 'IfNotPresent',
          args: ['--input-type=module', '--eval', readFileSync(join(import.meta.dirname, 'load.js'), 'utf8')],
          env: [
            { name: 'SECONDS', value: '600' },
            { name: 'CLIENTS', value: '3' },
            { name: 'CONNECTIONS', value: connections },
          ],
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
          resources: { requests: { cpu: '20m', memory: '64Mi' }, limits: { memory: '256Mi' } },
        },
      ],
    },
  };
}
