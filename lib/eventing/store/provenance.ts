import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';

/** Origin of a change: stored with each event; its trace is sent with each message. */
export interface Provenance {
  /** The requester: `member:<id>`, `operator` or the name of a worker. Never a person's name or address. */
  readonly requestedBy: string;
  /** W3C trace context. */
  readonly traceparent: string;
}

const current = new AsyncLocalStorage<Provenance>();

/** Runs `work`; events stored by it get this requester (default `system`) and trace (default a new one). */
export function withProvenance<T>(
  {
    requestedBy = 'system',
    traceparent = newTrace(),
  }: { requestedBy?: string | undefined; traceparent?: string | undefined },
  work: () => Promise<T>,
): Promise<T> {
  return current.run({ requestedBy, traceparent }, work);
}

/** Returns the provenance of the running work (default `system` in a new trace). */
export function provenance(): Provenance {
  return current.getStore() ?? { requestedBy: 'system', traceparent: newTrace() };
}

/** Returns a new, sampled trace context. https://www.w3.org/TR/trace-context/ */
export function newTrace(): string {
  // From Node's pool of random bytes: asking the operating system took 50 of a delivery's 1,300 microseconds.
  const [trace, span] = [randomUUID(), randomUUID()].map((uuid) => uuid.replaceAll('-', ''));
  // The last 16 digits, which begin with the UUID's variant, are never all zero.
  return `00-${trace}-${span!.slice(16)}-01`;
}
