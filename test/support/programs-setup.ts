import { findProgram } from '../../local/binaries.ts';
import { daprd, helm, natsServer, tiltfile } from '../../local/programs.ts';
import { Progress } from '../../local/progress.ts';

/** Makes sure that the programs that tests need are there before any end-to-end test counts its time: building them takes minutes, once. */
export default async function setUp(): Promise<void> {
  const never = new AbortController().signal;
  for (const program of [natsServer, daprd, ...helm, tiltfile])
    await findProgram(program, new Progress(process.stderr), never);
}
