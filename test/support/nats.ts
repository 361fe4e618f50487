import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { natsServer } from '../../local/toolchain/programs.ts';
import { brokerArguments } from '../../local/topology/broker.ts';
import type { BrokerUser } from '../../ops/jetstream/accounts.ts';
import { eventually } from './eventually.ts';
import { temporaryFolder } from './folder.ts';
import { programPath } from './helm.ts';

/** Starts a NATS server with JetStream, configured as by `npm start`, with its own folder and port. */
export async function startNats(
  users: readonly BrokerUser[],
): Promise<{ urlOf(user: string): string } & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  // With port -1 the server chooses a port and logs it.
  const args = await brokerArguments(folder.path, -1, users);
  const child = spawn(await programPath(natsServer), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  stack.defer(() => stop(child));
  const port = await portOf(child);
  const open = stack.move();
  return {
    urlOf: (name) => `nats://${name}:${users.find(({ user }) => user === name)!.password}@127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close');
  child.kill();
  await closed;
}

function portOf(child: ChildProcess): Promise<string> {
  let output = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  return eventually(() => {
    const port = /client connections on 127\.0\.0\.1:(\d+)/.exec(output)?.[1];
    if (!port || !output.includes('Server is ready')) throw new Error(`the server is not ready: ${output}`);
    return port;
  });
}
