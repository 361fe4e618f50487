/** npm passes Ctrl-C on to a process that the terminal has told already, so it is heard twice at once. */
const ECHO_MS = 1000;

/**
 * Hears Ctrl-C, and SIGTERM, and that the terminal has gone.
 * @returns `stop` with the first of them, `force` when there is another one later than a second after it
 */
export function interruption(): { stop: AbortSignal; force: AbortSignal } {
  const [stop, force] = [new AbortController(), new AbortController()];
  let since = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!stop.signal.aborted) since = performance.now();
      else if (performance.now() - since > ECHO_MS) force.abort();
      stop.abort(new Error(name));
    });
  }
  return { stop: stop.signal, force: force.signal };
}
