import { join } from 'node:path';
import { DAPR_TOKEN, launch, until } from './harness.ts';
import { nextPort } from './ports.ts';
import { APP_TOKEN } from './sidecar.ts';

export interface SubscriberApp {
  readonly pid: number;
  readonly port: number;
  /** The port that it expects its sidecar at. */
  readonly daprPort: number;
  /** Resolves with the time of its n-th answer, in milliseconds since 1970. @throws when its process ends before */
  answered(n: number): Promise<number>;
}

export interface AppOptions {
  readonly appId: string;
  /** What bench/subscriber.ts runs. */
  readonly program: string;
  readonly databaseUrl: string;
  /** The answers whose times are needed. */
  readonly reports: readonly number[];
}

/** Starts bench/subscriber.ts, and waits until it listens. It is stopped by `stack`. */
export async function startApp(
  stack: AsyncDisposableStack,
  { appId, program, databaseUrl, reports }: AppOptions,
): Promise<SubscriberApp> {
  const [port, daprPort] = [await nextPort(), await nextPort()];
  const env = {
    APP_ID: appId,
    DATABASE_URL: databaseUrl,
    SIDECAR_PORT: `${port}`,
    OPERATIONS_PORT: '0',
    DAPR_HTTP_PORT: `${daprPort}`,
    DAPR_API_TOKEN: DAPR_TOKEN,
    APP_API_TOKEN: APP_TOKEN,
  };
  const file = join(import.meta.dirname, 'subscriber.ts');
  const child = launch(stack, process.execPath, [file, program], env, ['ignore', 'ignore', 'inherit', 'ipc']);
  const times = new Map(reports.map((n) => [n, Promise.withResolvers<number>()]));
  for (const { promise } of times.values()) promise.catch(() => undefined);
  child.on('message', (report) => {
    const { answers, at } = report as { answers: number; at: number };
    times.get(answers)!.resolve(at);
  });
  child.on('exit', (code) => {
    for (const { reject } of times.values()) reject(new Error(`${appId} exited with ${code}`));
  });
  child.send(reports);
  await until(() => fetch(`http://127.0.0.1:${port}/healthz`));
  return { pid: child.pid!, port, daprPort, answered: (n) => times.get(n)!.promise };
}
