import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';

/** Where a change comes from: stored with each fact and sent with each of its messages. */
export interface Provenance {
  /** Who asked: `member:<id>`, `operator`, the name of a worker. Never a name or an address. */
  readonly requestedBy: string;
  /** W3C trace context. */
  readonly traceparent: string;
}

const current = new AsyncLocalStorage<Provenance>();

/** Runs `work`; the facts that it raises say who asked and belong to the given trace, or to a new one. */
export function withProvenance<T>(
  {
    requestedBy = 'system',
    traceparent = newTrace(),
  }: { requestedBy?: string | undefined; traceparent?: string | undefined },
  work: () => Promise<T>,
): Promise<T> {
  return current.run({ requestedBy, traceparent }, work);
}

/** The provenance of the running work; `system` in a new trace where nobody said. */
export function provenance(): Provenance {
  return current.getStore() ?? { requestedBy: 'system', traceparent: newTrace() };
}

/** A new, sampled trace context. https://www.w3.org/TR/trace-context/ */
export function newTrace(): string {
  return `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`;
}
