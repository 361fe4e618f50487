import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { current } from '../../k8s/clusters.ts';
import { openApiServer, openDemoTarget } from '../../k8s/port-forward.ts';
import type { Finding } from '../../ops/doctor/finding.ts';
import { diagnose } from '../../ops/doctor/report.ts';
import { workers } from '../../services/workers/workers.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from './invariants.ts';

export const cluster = await current();

export async function installReadingDefinitions(): Promise<void> {
  for (const chart of ['member', 'family-account'])
    await installChart(cluster.shell, chart, ...readingDefinitions(chart));
}
export const readingDefinitions = (chart: string) =>
  chart === 'workers' ? [] : ['--set', 'doctor.readDefinitions=true'];

export const kubectl = (...args: string[]) => cluster.shell.kubectl('--namespace', NAMESPACE, ...args);
export const waitForRollout = (app: string) => kubectl('rollout', 'status', `deployment/${app}`, '--timeout=120s');
export const restart = async (app: string) => {
  await kubectl('rollout', 'restart', `deployment/${app}`);
  await waitForRollout(app);
};

/** Sends a canary from member to family-account. @returns the last line of the command */
export async function canary(): Promise<string> {
  const env = 'API_URL=http://127.0.0.1:8083 TIMEOUT_SECONDS=8';
  const command = `${env} node ops/canary/main.ts member 2>&1 | tail -1`;
  return (await kubectl('exec', 'deployment/family-account', '--container', 'app', '--', 'sh', '-c', command)).trim();
}

/** Returns the doctor's findings about both systems. */
export async function diagnoseBoth(namespace = NAMESPACE): Promise<Finding[]> {
  await using target = await openDemoTarget(cluster.shell, namespace);
  await using kubernetes = await openApiServer(cluster.shell);
  const options = { kubernetes, namespace };
  const both = await Promise.all([
    diagnose({
      ...options,
      apiUrl: target.memberOperationsUrl,
      operatorToken: target.memberOperatorToken,
      apps: ['member', ...Object.keys(workers)],
    }),
    diagnose({
      ...options,
      apiUrl: target.familyAccountOperationsUrl,
      operatorToken: target.familyAccountOperatorToken,
      apps: ['family-account'],
    }),
  ]);
  expect(both.flatMap(({ unseen }) => unseen).filter((it) => !/has not received a message/.test(it))).toEqual([]);
  return both.flatMap(({ findings }) => findings);
}
export const textOf = ({ where, what }: Finding) => `${where} ${what}`;
export const findings = async () => (await diagnoseBoth()).map(textOf);

/**
 * Follows the remedy of a finding as an operator would: types the commands of its section of docs/doctor.md, with the
 * names that the finding says.
 */
export async function followRemedy(found: RegExp): Promise<void> {
  const { where, remedy } = (await diagnoseBoth()).find((it) => found.test(textOf(it)))!;
  const [, sentence, section] = /^(.*): docs\/doctor\.md#([a-z-]+)$/.exec(remedy)!;
  const named = (pattern: RegExp) => pattern.exec(sentence!)?.[1]?.split(/, | and /) ?? [];
  switch (section) {
    case 'restore-a-release':
      for (const RELEASE of named(/^Restore the releases? (.*?)(?:, then .*)?$/))
        await typeCommands(section, { RELEASE, NAMESPACE });
      break;
    case 'wrong-annotation':
      await typeCommands(section, {
        RELEASE: named(/from the release ([\w-]+)/)[0]!,
        NAMESPACE,
        APP: where.replace('Deployment ', ''),
      });
      break;
    case 'added-fields':
      await typeCommands(section, {
        FIELD: named(/^Remove (\w+) from/)[0]!,
        SUBSCRIPTION: where.replace('Subscription ', ''),
      });
      break;
    case 'no-pods':
      await typeCommands(section, { APP: named(/^Scale up (.*)$/)[0]!, REPLICAS: '1' });
      break;
    case 'no-sidecar':
      await typeCommands(section, { POD: where.replace('Pod ', '') });
      break;
    default:
      throw new Error(`Not a remedy that this test follows: ${remedy}`);
  }
  for (const APP of named(/, then restart (.*)$/)) await typeCommands('restart-an-app', { APP });
}

/** Types the commands of a section of docs/doctor.md, with other values for the variables at their top. */
export async function typeCommands(section: string, values: Record<string, string>): Promise<string> {
  const page = await readFile(join(import.meta.dirname, '../../docs/doctor.md'), 'utf8');
  const text = page.split(/^### /m).find((it) => it.split('\n', 1)[0]!.toLowerCase().replaceAll(' ', '-') === section);
  let commands = /^( *)```sh\n(.*?)^\1```/ms.exec(text!)![2]!;
  for (const [name, value] of Object.entries(values)) {
    if (!new RegExp(`\\b${name}=`).test(commands)) throw new Error(`docs/doctor.md#${section} sets no ${name}`);
    commands = commands.replace(new RegExp(`\\b${name}=\\S+`), `${name}=${value}`);
  }
  await using own = await mkdtempDisposable(join(tmpdir(), 'operator-'));
  const env = { KUBECONFIG: join(own.path, 'kubeconfig') };
  await writeFile(env.KUBECONFIG, await cluster.shell.kubectl('config', 'view', '--raw', '--flatten'));
  const here = `kubectl config set-context --current --namespace ${NAMESPACE}`;
  return await cluster.shell.run(['bash', '-euo', 'pipefail', '-c', `${here}\n${commands}`], { env });
}

export const waitForFindings = (...expected: RegExp[]) =>
  eventually(
    async () => {
      const matching = expected.map((it) => expect.stringMatching(it));
      expect(await findings()).toEqual(expect.arrayContaining(matching));
    },
    { timeoutMs: 120_000 },
  );
export const expectHealthy = async () => {
  await eventually(async () => expect(await findings()).toEqual([]), { timeoutMs: 120_000 });
  await eventually(async () => expect(await canary()).toMatch(/All hops of member passed/), { timeoutMs: 120_000 });
  await expectInvariants(cluster.shell);
};

/** As Helm, otherwise the next upgrade would conflict with another owner of the fields. */
export const asHelm = '--field-manager=helm';
export const patch = (what: string, change: object, ...as: string[]) =>
  kubectl('patch', what, '--type=merge', ...as, '--patch', JSON.stringify(change));
