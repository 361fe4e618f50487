/** The path of one event, as `GET /v1/events/{id}` of both systems returns it. */
export interface EventTrace {
  readonly id: string;
  readonly type: string;
  readonly sequence: number;
  readonly committedAt: string;
  readonly messages: readonly {
    target: string;
    channel: string;
    topic: string;
    sentAt: string | null;
    publishedAt: string | null;
  }[];
  readonly handledBy: readonly { consumer: string; at: string }[];
  /** Consumers of other systems that handled it. */
  readonly elsewhere: readonly { system: string; consumer: string; at: string }[];
  /** Display name of the aggregate, such as `Anna`. */
  readonly about: string;
}

const [BOLD, DIM, GREEN, RESET] = ['\x1b[1m', '\x1b[2m', '\x1b[32m', '\x1b[0m'];

/**
 * Formats traces for the terminal: each event with its commit time, and its hops with the milliseconds since.
 * @param colour whether to use ANSI colours
 * @returns one line per event and hop
 */
export function timeline(traces: readonly EventTrace[], colour: boolean): string[] {
  const paint = (style: string, text: string) => (colour ? `${style}${text}${RESET}` : text);
  const inOrder = [...traces].sort((a, b) => a.committedAt.localeCompare(b.committedAt) || a.sequence - b.sequence);
  return inOrder.flatMap((trace) => [
    `${paint(DIM, trace.committedAt.slice(11, 23))}  ${paint(BOLD, trace.type)}  ${trace.about} ${paint(DIM, `#${trace.sequence}`)}`,
    ...hops(trace).map(({ at, what }) => `${paint(GREEN, since(trace, at).padStart(12))}  ${what}`),
  ]);
}

function hops(trace: EventTrace): { at: string; what: string }[] {
  const messages = trace.messages.flatMap(({ topic, sentAt, publishedAt }) => [
    ...(sentAt ? [{ at: sentAt, what: `sent to ${topic}` }] : []),
    ...(publishedAt ? [{ at: publishedAt, what: `confirmed on ${topic}: published` }] : []),
  ]);
  const handled = trace.handledBy.map(({ consumer, at }) => ({ at, what: `handled by ${consumer}` }));
  const elsewhere = trace.elsewhere.map(({ system, consumer, at }) => ({
    at,
    what: `handled by ${system}: ${consumer}`,
  }));
  return [...messages, ...handled, ...elsewhere].sort((a, b) => a.at.localeCompare(b.at));
}

const since = (trace: EventTrace, at: string): string => `+${Date.parse(at) - Date.parse(trace.committedAt)} ms`;
