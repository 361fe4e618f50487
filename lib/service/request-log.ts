import type { Context, Middleware } from 'koa';
import { newTrace } from '#eventing/provenance';
import type { Log } from './log.ts';
import { toProblem } from './problem.ts';

/** https://www.w3.org/TR/trace-context/#traceparent-header; version 00 is all that exists. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

export interface RequestState {
  /** The caller's trace when it sent a valid one, else a new one. */
  traceparent: string;
}

/** Probes and sidecars ask every few seconds: their lines would hide the others. */
const QUIET = new Set(['/healthz', '/readyz', '/dapr/config', '/dapr/subscribe']);

/**
 * The outermost middleware: a line per request, and every error an answer. Neither line nor answer holds bodies, tokens or full URLs.
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
    const level = QUIET.has(ctx.path) ? 'debug' : 'info';
    const ms = Math.round(performance.now() - started);
    log[level]({ method: ctx.method, route: routeOf(ctx), status: ctx.status, ms, traceId }, 'request');
  };
}

/** The pattern of the matched route: unlike the path it holds no ids. */
function routeOf(ctx: Context): string {
  return String(ctx._matchedRoute ?? 'none');
}

function answerWithProblem(ctx: Context, error: unknown, traceId: string, log: Log): void {
  const { status, headers, body, unexpected } = toProblem(error, traceId);
  if (unexpected) log.error({ err: error, route: routeOf(ctx), traceId }, 'unexpected error');
  else if (status === 503) log.warn({ err: error, route: routeOf(ctx), traceId }, body.detail);
  ctx.status = status;
  ctx.set(headers);
  ctx.body = JSON.stringify(body);
  ctx.type = 'application/problem+json';
}
