/** A fact's journey, as `GET /v1/events/{id}` of the systems that know it tell it. */
export interface Journey {
  readonly id: string;
  readonly type: string;
  readonly sequence: number;
  readonly committedAt: string;
  readonly messages: readonly {
    target: string;
    channel: string;
    topic: string;
    relayedAt: string | null;
    publishedAt: string | null;
  }[];
  readonly handledBy: readonly { consumer: string; at: string }[];
  /** What other systems did with it. */
  readonly elsewhere: readonly { system: string; consumer: string; at: string }[];
  /** Whom it is about, for people. */
  readonly about: string;
}

const [BOLD, DIM, GREEN, RESET] = ['\x1b[1m', '\x1b[2m', '\x1b[32m', '\x1b[0m'];

/**
 * The journeys as a person likes to read them: each fact with the time it was committed, and its hops with the milliseconds since.
 * @param colour whether the reader is a terminal
 */
export function timeline(journeys: readonly Journey[], colour: boolean): string[] {
  const paint = (style: string, text: string) => (colour ? `${style}${text}${RESET}` : text);
  const inOrder = [...journeys].sort((a, b) => a.committedAt.localeCompare(b.committedAt) || a.sequence - b.sequence);
  return inOrder.flatMap((journey) => [
    `${paint(DIM, journey.committedAt.slice(11, 23))}  ${paint(BOLD, journey.type)}  ${journey.about} ${paint(DIM, `#${journey.sequence}`)}`,
    ...hops(journey).map(({ at, what }) => `${paint(GREEN, since(journey, at).padStart(12))}  ${what}`),
  ]);
}

function hops(journey: Journey): { at: string; what: string }[] {
  const messages = journey.messages.flatMap(({ topic, relayedAt, publishedAt }) => [
    ...(relayedAt ? [{ at: relayedAt, what: `relayed to ${topic}` }] : []),
    ...(publishedAt ? [{ at: publishedAt, what: `came back from ${topic}: published` }] : []),
  ]);
  const handled = journey.handledBy.map(({ consumer, at }) => ({ at, what: `handled by ${consumer}` }));
  const elsewhere = journey.elsewhere.map(({ system, consumer, at }) => ({
    at,
    what: `handled by ${system}: ${consumer}`,
  }));
  return [...messages, ...handled, ...elsewhere].sort((a, b) => a.at.localeCompare(b.at));
}

const since = (journey: Journey, at: string): string => `+${Date.parse(at) - Date.parse(journey.committedAt)} ms`;
