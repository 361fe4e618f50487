import type { Hop } from '#eventing/canary';
import type { OtherPublisher } from '#eventing/hearing';

/** What the member system says about a member now. */
export type Standing = 'VERIFIED' | 'NOT_VERIFIED' | 'WITHDRAWN';

export interface MemberSession {
  readonly memberId: string;
  readonly sessionNumber: string;
}

/** The member system, as this one needs it. All throw DependencyUnavailable `member-api-unavailable` when it cannot be asked now. */
export interface MemberSystem {
  /** A member's newest state; `NOT_VERIFIED` also when there is no such member. */
  standingOf(memberId: string): Promise<Standing>;
  /** The live session that a token opens; undefined when it has ended or never was. */
  sessionOf(token: string): Promise<MemberSession | undefined>;
  /** What it says of a topic of its own. */
  publisherOf(topic: string): OtherPublisher;
  /** Has it send a canary. @returns the fact's id */
  sendCanary(): Promise<string>;
  /** How far a canary of its own has come there; undefined when there is none of this id. */
  followCanary(id: string): Promise<Hop[] | undefined>;
}
