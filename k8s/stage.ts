import type { Stage } from '../local/story.ts';
import type { Shell } from './shell.ts';

/** The APIs of a cluster, reached through port-forwards. */
export async function openStage(shell: Shell, namespace: string): Promise<Stage & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const forward = async (service: string): Promise<string> => {
    const child = shell.start(['kubectl', '--namespace', namespace, 'port-forward', `service/${service}`, ':80']);
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
      child
        .once('error', reject)
        .once('close', () => reject(new Error(`${service} cannot be reached: ${said.trim()}`)));
    });
    return `http://127.0.0.1:${port}`;
  };
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
