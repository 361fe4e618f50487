import type { Options } from '../options.ts';
import type { Progress } from '../progress.ts';
import type { ProcessSpec } from '../supervisor/managed-process.ts';
import { identify } from '../supervisor/process-identity.ts';
import type { Running } from '../supervisor/running.ts';
import { findProgram } from '../toolchain/binaries.ts';
import { daprd, natsServer } from '../toolchain/programs.ts';
import { ADMINISTRATOR } from './broker.ts';
import { broker, database } from './infrastructure.ts';
import { takePorts } from './ports.ts';
import { type System, systemUrls } from './postgres.ts';
import { type Placed, processes } from './processes.ts';
import { secretsOf } from './secrets.ts';
import { writeDaprConfigurations } from './sidecar.ts';

/** Everything that is decided before the first process starts, including the contents of `running.json`. */
export interface Plan {
  readonly postgres: ProcessSpec;
  readonly broker: ProcessSpec;
  readonly placed: readonly Placed[];
  readonly systems: Readonly<Record<'member' | 'familyAccount', System>>;
  readonly running: Omit<Running, 'processes'>;
}

/**
 * Finds the programs, reserves the ports and creates the secrets and addresses of a run.
 * @param stack receives the release of the ports
 * @param stop aborts the download or build of a program
 */
export async function makePlan(
  { dataDir, replicas, usualPorts }: Options,
  progress: Progress,
  stack: AsyncDisposableStack,
  stop: AbortSignal,
): Promise<Plan> {
  const natsProgram = await findProgram(natsServer, progress, stop);
  const dapr = await findProgram(daprd, progress, stop);
  const ports = stack.use(
    await takePorts((port) => progress.print(`Port ${port} is in use, choosing another one for the API`)),
  );
  const secrets = await secretsOf(dataDir);
  const postgres = await database(dataDir, await ports.next());
  const nats = await broker(natsProgram, dataDir, { port: await ports.next(), passwords: secrets.brokerPasswords });
  const systems = {
    member: { database: 'member', rolePrefix: 'member', passwords: secrets.member.databasePasswords },
    familyAccount: {
      database: 'family_account',
      rolePrefix: 'family_account',
      passwords: secrets.familyAccount.databasePasswords,
    },
  };
  const databases = {
    superuser: postgres.superuserUrl,
    member: systemUrls(postgres.superuserUrl, systems.member),
    familyAccount: systemUrls(postgres.superuserUrl, systems.familyAccount),
  };
  const sidecars = {
    daprd: dapr,
    configurations: await writeDaprConfigurations(dataDir),
    brokerUrls: nats.urls,
    createConsumers: nats.createConsumers,
    daprApiToken: secrets.daprApiToken,
    appApiToken: secrets.appApiToken,
  };
  const placed = await processes({ databases, secrets, sidecars, nextPort: ports.next, usualPorts }, replicas);
  const url = (name: string, port = 'http') =>
    `http://127.0.0.1:${placed.find(({ spec }) => spec.name === name)!.spec.ports[port]}`;
  const { pid, command, started } = (await identify(process.pid))!;
  const running = {
    supervisor: { pid, command, started },
    startedAt: new Date().toISOString(),
    memberUrl: url('member'),
    familyAccountUrl: url('family-account'),
    memberOperationsUrl: url('member', 'operations'),
    familyAccountOperationsUrl: url('family-account', 'operations'),
    memberOperatorToken: secrets.member.operatorToken,
    familyAccountOperatorToken: secrets.familyAccount.operatorToken,
    databases,
    brokerUrl: nats.urls[ADMINISTRATOR]!,
  };
  return { postgres: postgres.spec, broker: nats.spec, placed, systems, running };
}
