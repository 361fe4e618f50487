/**
 * What part of the work this thread did, the one with the event loop, of all that the process did. Unlike the time in which the event loop
 * comes round it is the same on a busy machine.
 */
export async function shareOfThisThread(work: () => Promise<unknown>): Promise<number> {
  const sum = ({ user, system }: NodeJS.CpuUsage) => user + system;
  const [thread, all] = [process.threadCpuUsage(), process.cpuUsage()];
  await work();
  return sum(process.threadCpuUsage(thread)) / sum(process.cpuUsage(all));
}
