import { ConfigError } from './config.ts';
import { createLog, type Log } from './log.ts';

/** What `run` passes to a process's `main`. */
export interface ProcessContext {
  /** Register the close of each resource here, on the line after its opening. Closed in reverse order. */
  readonly stack: AsyncDisposableStack;
  /** Adds a shutdown step, such as failing readiness. Steps run in order of registration, before anything closes. */
  onShutdown(step: () => void | Promise<void>): void;
  /** Sets how long closing everything may take after those steps (default 20 s). */
  closeWithin(seconds: number): void;
  readonly log: Log;
}

/** Default. Below the 30 s after which orchestrators kill, so that a shutdown that hangs is logged. */
export const SHUTDOWN_TIMEOUT_SECONDS = 20;

/**
 * Runs a process: `main` opens everything and returns. SIGTERM or SIGINT closes everything and exits 0; a second signal
 * exits immediately. An error at the start and an unhandled error are logged in one line, then the process exits 1.
 */
export async function run(name: string, main: (context: ProcessContext) => Promise<void>): Promise<void> {
  const log = createLog(name, process.env.LOG_LEVEL);
  const stack = new AsyncDisposableStack();
  const steps: (() => void | Promise<void>)[] = [];
  let shutdownTimeoutSeconds = SHUTDOWN_TIMEOUT_SECONDS;
  let stopping = false;
  const stop = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ signal }, 'stopping');
    void close(steps, stack, log, shutdownTimeoutSeconds).then((code) => process.exit(code));
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  for (const event of ['uncaughtException', 'unhandledRejection'] as const)
    process.on(event, (error) => crash(log, error));
  try {
    const closeWithin = (seconds: number) => {
      shutdownTimeoutSeconds = seconds;
    };
    await main({ stack, onShutdown: (step) => steps.push(step), closeWithin, log });
  } catch (error) {
    // A signal during the start closes resources that `main` still uses, so its failure is expected.
    if (stopping) return;
    reportStartFailure(log, error);
    await stack.disposeAsync().catch(() => undefined);
    process.exit(1);
  }
}

async function close(
  steps: (() => void | Promise<void>)[],
  stack: AsyncDisposableStack,
  log: Log,
  shutdownTimeoutSeconds: number,
): Promise<number> {
  let timer: NodeJS.Timeout | undefined;
  try {
    for (const step of steps) await step();
    timer = setTimeout(() => crash(log, new Error('The shutdown exceeded its timeout')), shutdownTimeoutSeconds * 1000);
    await stack.disposeAsync();
    log.info('stopped');
    return 0;
  } catch (error) {
    log.error({ err: error }, 'shutdown failed, exiting');
    return 1;
  } finally {
    clearTimeout(timer);
  }
}

/** After an unexpected error the state in memory cannot be trusted, so the process does not close anything. */
function crash(log: Log, error: unknown): never {
  log.fatal({ err: error }, 'fatal error, exiting');
  process.exit(1);
}

function reportStartFailure(log: Log, error: unknown): void {
  if (error instanceof ConfigError) process.stderr.write(`${error.message}\n`);
  else log.fatal({ err: error }, `could not start: ${Error.isError(error) ? error.message : error}`);
}
