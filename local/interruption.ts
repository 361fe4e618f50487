/** npm passes Ctrl-C on to a process that the terminal has told already, so it is heard twice at once. */
const ECHO_MS = 1000;

/**
 * Hears Ctrl-C, and SIGTERM, and that the terminal has gone; and errors that nobody has handled, so that they leave no process behind.
 * @returns `stop` with the first of them as its reason, `force` when there is another signal later than a second after it
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
