import { NAMESPACE } from '../../k8s/cluster.ts';
import { forward } from '../../k8s/port-forward.ts';
import type { Shell } from '../../k8s/shell.ts';

/** Runs `act` with the URL of the cluster's broker, as its administrator. */
export async function asAdministrator<T>(shell: Shell, act: (brokerUrl: string) => Promise<T>): Promise<T> {
  const secret = ['--namespace', NAMESPACE, 'get', 'secret', 'broker-administrator', '--output=json'];
  const { data } = JSON.parse(await shell.kubectl(...secret));
  await using broker = await forward(shell, NAMESPACE, 'service/nats', 4222);
  const url = new URL(Buffer.from(data.url, 'base64').toString());
  return await act(`nats://${url.username}:${url.password}@${new URL(broker.url).host}`);
}
