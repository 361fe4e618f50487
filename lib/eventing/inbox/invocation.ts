import type { IncomingHttpHeaders } from 'node:http';

/** Headers that a sidecar adds to a service invocation, but not to its own deliveries. */
const INVOCATION_HEADERS = ['dapr-caller-app-id', 'dapr-callee-app-id'];

/**
 * Returns the app-id of the caller of a service invocation; undefined for a delivery from a topic. Undefined proves nothing:
 * by naming these headers in `Connection`, a caller makes daprd omit them (docs/decisions/0025).
 */
export function invokedBy(headers: IncomingHttpHeaders): string | undefined {
  const name = INVOCATION_HEADERS.find((it) => it in headers);
  return name && `${headers['dapr-caller-app-id'] ?? 'an unnamed app'}`;
}
