import type { Hop } from '#eventing/canary';
import type { OtherPublisher } from '#eventing/subscription-watchdog';

/** A member's newest state, as far as family accounts depend on it. */
export type Standing = 'VERIFIED' | 'NOT_VERIFIED' | 'WITHDRAWN';

export interface MemberSession {
  readonly memberId: string;
  readonly sessionNumber: string;
}

/** Port to the member system. Every method throws DependencyUnavailable `member-api-unavailable` when it cannot be reached. */
export interface MemberSystem {
  /** Returns a member's newest state; `NOT_VERIFIED` also for an unknown member. */
  standingOf(memberId: string): Promise<Standing>;
  /**
   * Returns the live session of a token; undefined when it has ended or never existed.
   * @param wasLive whether the last lookup found it live. Other tokens have a call limit of their own, so they cannot exhaust this one
   */
  sessionOf(token: string, { wasLive }: { wasLive: boolean }): Promise<MemberSession | undefined>;
  /** Returns access to what it published on one of its topics. */
  publisherOf(topic: string): OtherPublisher;
  /** Makes it send a canary. @returns the event's id */
  sendCanary(): Promise<string>;
  /** Returns the hops of one of its canaries; undefined when the id is unknown. */
  followCanary(id: string): Promise<Hop[] | undefined>;
}
