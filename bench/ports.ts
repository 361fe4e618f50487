import { type Ports, takePorts } from '../local/topology/ports.ts';

let block: Ports | undefined;

/** Returns a free port of a block that is reserved for this process: other runs on the machine cannot take it meanwhile. */
export async function nextPort(): Promise<number> {
  block ??= await takePorts();
  try {
    return await block.next();
  } catch {
    // The block is used up.
    await block[Symbol.asyncDispose]();
    block = undefined;
    return nextPort();
  }
}
