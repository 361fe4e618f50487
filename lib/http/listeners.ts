import type { Authenticate } from './authentication.ts';
import type { Access, Route } from './route.ts';

/**
 * The kinds of principals that each listener accepts. A route is served where its access includes one; other
 * credentials are rejected.
 */
const ACCEPTED = {
  public: ['anyone', 'member'],
  sidecar: ['reader', 'member'],
  operations: ['operator'],
} as const satisfies Record<string, readonly Access[]>;

export type Listener = keyof typeof ACCEPTED;

const names = Object.keys(ACCEPTED) as Listener[];
const accepts = (listener: Listener, kind: Access): boolean => (ACCEPTED[listener] as readonly Access[]).includes(kind);

/** Returns the routes that a listener serves, their access reduced to the principals that it accepts. */
export function routesAt(listener: Listener, routes: readonly Route[]): Route[] {
  return routes
    .map((route) => ({ ...route, access: route.access.filter((kind) => accepts(listener, kind)) }))
    .filter(({ access }) => access.length > 0);
}

/** Returns the listeners that serve a route with this access. */
export function listenersOf(access: readonly Access[]): Listener[] {
  return names.filter((listener) => access.some((kind) => accepts(listener, kind)));
}

/** Restricts authentication to the principals that the listener accepts: other credentials count as unknown. */
export function authenticateAt(listener: Listener, authenticate: Authenticate): Authenticate {
  return async (...request) => {
    const principal = await authenticate(...request);
    return principal && accepts(listener, principal.kind) ? principal : undefined;
  };
}
