/** npm forwards Ctrl-C to a process that the terminal has signalled too: signals within this time count as one. */
const ECHO_MS = 1000;

/**
 * Handles SIGINT, SIGTERM, SIGHUP and unhandled errors, so that none of them leaves processes behind.
 * @returns `stop`, aborted by the first of them with the signal's name or the error as its reason, and `force`, aborted
 * by another signal more than 1 s later
 */
export function interruption(): { stop: AbortSignal; force: AbortSignal } {
  const [stop, force] = [new AbortController(), new AbortController()];
  let since = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!stop.signal.aborted) since = performance.now();
      else if (performance.now() - since > ECHO_MS) force.abort();
      stop.abort(name);
    });
  }
  for (const name of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(name, (error) => stop.abort(error));
  }
  return { stop: stop.signal, force: force.signal };
}
