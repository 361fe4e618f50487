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

/** The APIs of a cluster, reached through port-forwards. */
export async function openStage(shell: Shell, namespace: string): Promise<Stage & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const forward = (service: string) =>
    serve(shell, ['--namespace', namespace, 'port-forward', `service/${service}`, ':80'], service, stack);
  const secret = async (name: string, key: string): Promise<string> => {
    const { data } = JSON.parse(await shell.kubectl('--namespace', namespace, 'get', 'secret', name, '--output=json'));
    return Buffer.from(data[key], 'base64').toString();
  };
  const stage = {
    memberUrl: await forward('member'),
    familyAccountUrl: await forward('family-account'),
    memberOperatorToken: await secret('member', 'operator-token'),
    familyAccountOperatorToken: await secret('family-account', 'operator-token'),
  };
  const open = stack.move();
  return { ...stage, [Symbol.asyncDispose]: () => open.disposeAsync() };
}
