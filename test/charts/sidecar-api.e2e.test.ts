import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommunicationProtocolEnum, DaprClient, LogLevel } from '@dapr/dapr';
import { charts } from '../../docs/charts.ts';
import { daprd } from '../../local/toolchain/programs.ts';
import { freePort } from '../../local/topology/ports.ts';
import { writeDaprConfigurations } from '../../local/topology/sidecar.ts';
import { eventually } from '../support/eventually.ts';
import { helmPrograms, programPath, render } from '../support/helm.ts';

/** Starts a real sidecar with a Configuration, without components and without an app. */
async function startSidecar(configuration: string) {
  const [http, grpc, internal] = await Promise.all([freePort(), freePort(), freePort()]);
  const flags = [
    ...['--app-id', 'an-app', '--config', configuration, '--enable-metrics=false'],
    ...['--dapr-http-port', http, '--dapr-grpc-port', grpc, '--dapr-internal-grpc-port', internal].map(String),
    ...['--dapr-listen-addresses', '127.0.0.1', '--dapr-internal-grpc-listen-address', '127.0.0.1'],
  ];
  const sidecar = spawn(await programPath(daprd), flags, { stdio: 'ignore' });
  const ended = once(sidecar, 'exit');
  const get = (path: string) => fetch(`http://127.0.0.1:${http}/v1.0/${path}`);
  await eventually(async () => (await get('healthz/outbound')).ok);
  const client = new DaprClient({
    daprHost: '127.0.0.1',
    daprPort: `${grpc}`,
    communicationProtocol: CommunicationProtocolEnum.GRPC,
    logger: {
      level: LogLevel.Error,
      service: { error() {}, warn() {}, info() {}, verbose() {}, debug() {} },
    },
  });
  return {
    get,
    client,
    async [Symbol.asyncDispose]() {
      await client.stop();
      sidecar.kill();
      await ended;
    },
  };
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'member-system-sidecar-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function configurationOf(where: string): Promise<string> {
  if (where === 'a laptop') return (await writeDaprConfigurations(folder)).closed;
  const [helm] = await helmPrograms();
  const file = join(folder, `${where}.yaml`);
  const [configuration] = (await render(helm!, where)).filter(({ kind }) => kind === 'Configuration');
  // JSON is YAML.
  await writeFile(file, JSON.stringify(configuration));
  return file;
}

test.each([...charts, 'a laptop'])(
  'APIs that are closed over HTTP are closed over gRPC at the sidecars of %s',
  async (where) => {
    await using sidecar = await startSidecar(await configurationOf(where));
    const { client } = sidecar;
    const closed = { code: 12 };
    await expect(client.state.get('store', 'key')).rejects.toMatchObject(closed);
    await expect(client.secret.get('store', 'key')).rejects.toMatchObject(closed);
    await expect(client.lock.unlock('store', 'key', 'owner')).rejects.toMatchObject(closed);
    await expect(client.invoker.invoke('member', 'v1/members', 'get' as never)).rejects.toMatchObject(closed);
    await expect(client.pubsub.publish('member-member-external', 'member-external', {})).rejects.toMatchObject({
      error: closed,
    });
    // Allowing this one API closes all others.
    expect(await client.metadata.get()).toMatchObject({ id: 'an-app' });
    expect((await sidecar.get('metadata')).status).toBe(200);
  },
);
