import type { Stage } from '../local/story.ts';
import type { Shell } from './shell.ts';

/** Starts something of kubectl's that serves on a port here until it is disposed of. @returns where */
async function serve(
  shell: Shell,
  command: readonly string[],
  what: string,
  stack: AsyncDisposableStack,
): Promise<string> {
  const child = shell.start(['kubectl', ...command]);
  stack.defer(() => void child.kill());
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
  return `http://127.0.0.1:${port}`;
}

/** The cluster's API server, asked as whoever the kubeconfig says. */
export async function openApiServer(shell: Shell): Promise<{ readonly url: string } & AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const url = await serve(shell, ['proxy', '--port', '0'], 'the API server', stack);
  return { url, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** A port of something in a cluster, for as long as it takes. */
export async function forward(
  shell: Shell,
  namespace: string,
  what: string,
  port: number,
): Promise<{ readonly url: string } & AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const url = await serve(
    shell,
    ['--namespace', namespace, 'port-forward', '--pod-running-timeout=15s', what, `:${port}`],
    what,
    stack,
  );
  return { url, [Symbol.asyncDispose]: () => stack.disposeAsync() };
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
