/**
 * Returns the event loop thread's share (0 to 1) of the CPU time that the process spends during `work`. Unlike the delay of the event loop
 * it does not depend on the load of the machine.
 */
export async function shareOfThisThread(work: () => Promise<unknown>): Promise<number> {
  const sum = ({ user, system }: NodeJS.CpuUsage) => user + system;
  const [thread, all] = [process.threadCpuUsage(), process.cpuUsage()];
  await work();
  return sum(process.threadCpuUsage(thread)) / sum(process.cpuUsage(all));
}
