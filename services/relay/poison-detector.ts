/** Limit of remembered failures. Beyond it the oldest is dropped, which costs that message one more attempt. */
const MAX_REMEMBERED = 1_000;

/**
 * Separates poison messages from broker outages, for one topic, because both fail in the same way. A failure is poison only if (a) the
 * message failed before, (b) others were accepted since, by a call that began later, and (c) the failures of this call are a single one or
 * fewer than the accepted messages. In an outage, also one that begins within a call or while several are in flight, these do not hold
 * together, so no attempts are spent; unless it begins with the last few messages of a call, and they had failed before. A probe of an open
 * circuit is never poison: it may have failed in an earlier outage, after which others were accepted.
 */
export class PoisonDetector {
  /** Calls are numbered in the order in which they began. */
  #lastCall = 0;
  #lastAcceptedCall = 0;
  /** By message: the last call that had begun when it failed. What was accepted by such a call may be older than the failure. */
  readonly #failedAt = new Map<string, number>();

  /** Numbers a call that begins. */
  begin(): number {
    return ++this.#lastCall;
  }

  /**
   * Records the result of one call.
   * @param isProbe whether the circuit was open
   * @param call its number
   * @returns those of `failed` that are poison
   */
  findPoison(
    accepted: Iterable<string>,
    failed: Iterable<string>,
    isProbe = false,
    call: number = this.begin(),
  ): Set<string> {
    const failures = [...failed];
    const acceptedBefore = this.#lastAcceptedCall;
    let count = 0;
    for (const id of accepted) {
      count++;
      this.#failedAt.delete(id);
    }
    if (count > 0) this.#lastAcceptedCall = Math.max(acceptedBefore, call);
    const isOutage = isProbe || (failures.length > 1 && failures.length >= count);
    const poisonIds = failures.filter((id) => !isOutage && acceptedBefore > (this.#failedAt.get(id) ?? acceptedBefore));
    for (const id of failures) this.#remember(id);
    return new Set(poisonIds);
  }

  #remember(id: string): void {
    this.#failedAt.delete(id);
    this.#failedAt.set(id, this.#lastCall);
    if (this.#failedAt.size > MAX_REMEMBERED) this.#failedAt.delete(this.#failedAt.keys().next().value!);
  }
}
