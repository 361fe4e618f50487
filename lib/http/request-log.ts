import type { Context, Middleware } from 'koa';
import { newTrace } from '#eventing/provenance';
import type { Log } from '#process/log';
import { toProblem } from './problem.ts';

/** https://www.w3.org/TR/trace-context/#traceparent-header; 00 is the only version. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

export interface RequestState {
  /** The caller's trace context if it is valid, otherwise a new one. */
  traceparent: string;
}

/** Logged at debug level: probes and sidecars request these every few seconds, and would hide other lines. */
const QUIET = new Set(['/healthz', '/readyz', '/dapr/config', '/dapr/subscribe']);

/** Deliveries are logged at debug level too, whatever the answer: there are as many as events. Their route logs what went wrong. */
const isQuiet = ({ path, status }: Context): boolean =>
  QUIET.has(path) || (status === 200 && path.startsWith('/events/'));

/**
 * Creates the outermost middleware: logs each request in one line and turns each error into a problem response. Neither
 * contains bodies, tokens or full URLs.
 */
export function requestLog(log: Log): Middleware<RequestState> {
  return async (ctx, next) => {
    const started = performance.now();
    const sent = ctx.get('traceparent');
    ctx.state.traceparent = TRACEPARENT.test(sent) ? sent : newTrace();
    const traceId = ctx.state.traceparent.slice(3, 35);
    try {
      await next();
    } catch (error) {
      answerWithProblem(ctx, error, traceId, log);
    }
    const level = isQuiet(ctx) ? 'debug' : 'info';
    const ms = Math.round(performance.now() - started);
    log[level]({ method: ctx.method, route: routeOf(ctx), status: ctx.status, ms, traceId }, 'request');
  };
}

/** Returns the pattern of the matched route, which contains no ids. */
function routeOf(ctx: Context): string {
  return String(ctx._matchedRoute ?? 'none');
}

function answerWithProblem(ctx: Context, error: unknown, traceId: string, log: Log): void {
  const { status, headers, body, unexpected } = toProblem(error, traceId);
  if (unexpected) log.error({ err: error, route: routeOf(ctx), traceId }, 'unexpected error');
  else if (status === 503 || body.slug === 'value-refused')
    log.warn({ err: error, route: routeOf(ctx), traceId }, body.detail);
  ctx.status = status;
  ctx.set(headers);
  ctx.body = JSON.stringify(body);
  ctx.type = 'application/problem+json';
}
