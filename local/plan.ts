import { findProgram } from './binaries.ts';
import { broker, database } from './infrastructure.ts';
import type { ProcessSpec } from './managed-process.ts';
import type { Options } from './options.ts';
import { takePorts } from './ports.ts';
import { type System, systemUrls } from './postgres.ts';
import { identify } from './process-identity.ts';
import { type Placed, processes } from './processes.ts';
import { daprd, natsServer } from './programs.ts';
import type { Progress } from './progress.ts';
import type { Running } from './running.ts';
import { secretsOf } from './secrets.ts';
import { writeDaprConfiguration } from './sidecar.ts';

/** All that is settled before the first process starts: what `running.json` says is true from then on. */
export interface Plan {
  readonly postgres: ProcessSpec;
  readonly broker: ProcessSpec;
  readonly placed: readonly Placed[];
  readonly systems: Readonly<Record<'member' | 'familyAccount', System>>;
  readonly running: Omit<Running, 'processes'>;
}

/**
 * Finds the programs, takes the ports and makes the secrets and addresses of a run.
 * @param stack gets what gives the ports back
 * @param stop gives up downloading or building a program
 */
export async function makePlan(
  { dataDir, replicas, usualPorts }: Options,
  progress: Progress,
  stack: AsyncDisposableStack,
  stop: AbortSignal,
): Promise<Plan> {
  const nats = await findProgram(natsServer, progress, stop);
  const dapr = await findProgram(daprd, progress, stop);
  const ports = stack.use(
    await takePorts((port) => progress.say(`Port ${port} is used by another program: the API gets another port`)),
  );
  const secrets = await secretsOf(dataDir);
  const postgres = await database(dataDir, await ports.next());
  const stream = await broker(nats, dataDir, { port: await ports.next(), token: secrets.brokerToken });
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
    configuration: await writeDaprConfiguration(dataDir),
    brokerUrl: stream.url,
    daprApiToken: secrets.daprApiToken,
    appApiToken: secrets.appApiToken,
  };
  const placed = await processes({ databases, secrets, sidecars, nextPort: ports.next, usualPorts }, replicas);
  const url = (name: string) => `http://127.0.0.1:${placed.find(({ spec }) => spec.name === name)!.spec.ports.http}`;
  const { pid, command, started } = (await identify(process.pid))!;
  const running = {
    supervisor: { pid, command, started },
    startedAt: new Date().toISOString(),
    memberUrl: url('member'),
    familyAccountUrl: url('family-account'),
    memberOperatorToken: secrets.member.operatorToken,
    familyAccountOperatorToken: secrets.familyAccount.operatorToken,
    databases,
    brokerUrl: stream.url,
  };
  return { postgres: postgres.spec, broker: stream.spec, placed, systems, running };
}
