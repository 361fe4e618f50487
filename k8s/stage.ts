import type { Stage } from '../local/story.ts';
import type { Shell } from './shell.ts';

/** Something that is served on a port here until it is disposed of. */
type Served = { readonly url: string } & AsyncDisposable;

/** Starts something of kubectl's that serves. @throws with what kubectl said, when it does not */
async function serve(shell: Shell, command: readonly string[], what: string): Promise<Served> {
  const child = shell.start(['kubectl', ...command]);
  const port = await new Promise<string>((resolve, reject) => {
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        const port = /127\.0\.0\.1:(\d+)/.exec(said)?.[1];
        if (port) resolve(port);
      });
    }
    child.once('error', reject).once('close', () => reject(new Error(`${what} cannot be reached: ${said.trim()}`)));
  });
  return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: async () => void child.kill() };
}

/** The cluster's API server, asked as whoever the kubeconfig says. */
export function openApiServer(shell: Shell): Promise<Served> {
  return serve(shell, ['proxy', '--port', '0'], 'the API server');
}

/** A port of something in a cluster. @throws when no pod of it runs */
export function forward(shell: Shell, namespace: string, what: string, port: number): Promise<Served> {
  const command = ['port-forward', '--pod-running-timeout=15s', what, `:${port}`];
  return serve(shell, ['--namespace', namespace, ...command], what);
}

/** One of the APIs, reached through a port-forward, and its operators' token. @throws when no pod of it runs */
async function openApi(shell: Shell, namespace: string, name: string) {
  const operatorToken = await operatorTokenOf(shell, namespace, name);
  const api = await forward(shell, namespace, `service/${name}`, 80);
  return Object.assign(api, { operatorToken });
}

/** The token of an API's operators. */
export async function operatorTokenOf(shell: Shell, namespace: string, name: string): Promise<string> {
  const { data } = JSON.parse(await shell.kubectl('--namespace', namespace, 'get', 'secret', name, '--output=json'));
  return Buffer.from(data['operator-token'], 'base64').toString();
}

/**
 * The APIs of a cluster, reached through port-forwards.
 * @param families where family-account is, if elsewhere than member
 */
export async function openStage(
  shell: Shell,
  namespace: string,
  families = namespace,
): Promise<Stage & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const member = stack.use(await openApi(shell, namespace, 'member'));
  const familyAccount = stack.use(await openApi(shell, families, 'family-account'));
  const open = stack.move();
  return {
    memberUrl: member.url,
    memberOperatorToken: member.operatorToken,
    familyAccountUrl: familyAccount.url,
    familyAccountOperatorToken: familyAccount.operatorToken,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}
