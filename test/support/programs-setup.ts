import { Progress } from '../../local/progress.ts';
import { findProgram } from '../../local/toolchain/binaries.ts';
import { actionlint, daprd, helm, natsServer, tiltfile } from '../../local/toolchain/programs.ts';

/** Installs the programs that tests need before any test's time-out starts, because building them once takes minutes. */
export default async function setUp(): Promise<void> {
  const never = new AbortController().signal;
  for (const program of [natsServer, daprd, ...helm, tiltfile, actionlint])
    await findProgram(program, new Progress(process.stderr), never);
}
