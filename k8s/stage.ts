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
  const api = async (name: string, where: string): Promise<[string, string]> => {
    const at = ['--namespace', where];
    const { data } = JSON.parse(await shell.kubectl(...at, 'get', 'secret', name, '--output=json'));
    const url = await serve(shell, [...at, 'port-forward', `service/${name}`, ':80'], name, stack);
    return [url, Buffer.from(data['operator-token'], 'base64').toString()];
  };
  const [memberUrl, memberOperatorToken] = await api('member', namespace);
  const [familyAccountUrl, familyAccountOperatorToken] = await api('family-account', families);
  const stage = { memberUrl, familyAccountUrl, memberOperatorToken, familyAccountOperatorToken };
  const open = stack.move();
  return { ...stage, [Symbol.asyncDispose]: () => open.disposeAsync() };
}
