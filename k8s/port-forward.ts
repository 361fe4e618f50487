import type { DemoTarget } from '../local/story.ts';
import type { Shell } from './shell.ts';

/** A local port that is open until it is disposed of. */
type Served = { readonly url: string } & AsyncDisposable;

/** Starts a kubectl command that serves a port. @throws Error with kubectl's output, if it fails */
async function serve(shell: Shell, command: readonly string[], target: string): Promise<Served> {
  const child = shell.start(['kubectl', ...command]);
  const port = await new Promise<string>((resolve, reject) => {
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        const port = /127\.0\.0\.1:(\d+)/.exec(output)?.[1];
        if (port) resolve(port);
      });
    }
    child.once('error', reject).once('close', () => reject(new Error(`${target} cannot be reached: ${output.trim()}`)));
  });
  return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: async () => void child.kill() };
}

/** Opens the cluster's API server, with the credentials of the kubeconfig. */
export function openApiServer(shell: Shell): Promise<Served> {
  return serve(shell, ['proxy', '--port', '0'], 'the API server');
}

/** Forwards a port of a resource, such as `service/member`. @throws Error if it has no running pod */
export function forward(shell: Shell, namespace: string, resource: string, port: number): Promise<Served> {
  const command = ['port-forward', '--pod-running-timeout=15s', resource, `:${port}`];
  return serve(shell, ['--namespace', namespace, ...command], resource);
}

/** Opens both ports of an API, and reads its operator token. @throws Error if it has no running pod */
async function openApi(shell: Shell, namespace: string, name: string) {
  const operatorToken = await operatorTokenOf(shell, namespace, name);
  await using stack = new AsyncDisposableStack();
  const api = stack.use(await forward(shell, namespace, `service/${name}`, 80));
  const operations = stack.use(await openOperations(shell, namespace, name));
  const opened = stack.move();
  return {
    url: api.url,
    operationsUrl: operations.url,
    operatorToken,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** Opens the operations port of an API. @throws Error if it has no running pod */
export function openOperations(shell: Shell, namespace: string, name: string): Promise<Served> {
  return forward(shell, namespace, `service/${name}-operations`, 8083);
}

/** Reads the operator token of an API from its Secret. */
export async function operatorTokenOf(shell: Shell, namespace: string, name: string): Promise<string> {
  const { data } = JSON.parse(await shell.kubectl('--namespace', namespace, 'get', 'secret', name, '--output=json'));
  return Buffer.from(data['operator-token'], 'base64').toString();
}

/**
 * Opens the APIs of a cluster through port-forwards.
 * @param namespace namespace of member
 * @param families namespace of family-account (default that of member)
 */
export async function openDemoTarget(
  shell: Shell,
  namespace: string,
  families = namespace,
): Promise<DemoTarget & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const member = stack.use(await openApi(shell, namespace, 'member'));
  const familyAccount = stack.use(await openApi(shell, families, 'family-account'));
  const open = stack.move();
  return {
    memberUrl: member.url,
    memberOperationsUrl: member.operationsUrl,
    familyAccountOperationsUrl: familyAccount.operationsUrl,
    memberOperatorToken: member.operatorToken,
    familyAccountUrl: familyAccount.url,
    familyAccountOperatorToken: familyAccount.operatorToken,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}
