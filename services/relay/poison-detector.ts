/** Limit of remembered failures. Beyond it the oldest is dropped, which costs that message one more attempt. */
const MAX_REMEMBERED = 1_000;

/**
 * Separates poison messages from broker outages, for one topic, because both fail in the same way. A failure is poison only if (a) the
 * message failed before, (b) others were accepted since, and (c) the failures in this wave are a single one or fewer than the accepted
 * messages. In an outage, also one that begins within a wave, these do not hold together, so no attempts are spent; unless it begins with the
 * last few messages of a wave, and they had failed before. A probe of an open circuit is never poison: it may have failed in an earlier
 * outage, after which others were accepted.
 */
export class PoisonDetector {
  #accepted = 0;
  readonly #acceptedWhenFailed = new Map<string, number>();

  /**
   * Records the result of one wave.
   * @param isProbe whether the circuit was open
   * @returns those of `failed` that are poison
   */
  findPoison(accepted: Iterable<string>, failed: Iterable<string>, isProbe = false): Set<string> {
    const failures = [...failed];
    const before = this.#accepted;
    for (const id of accepted) {
      this.#accepted++;
      this.#acceptedWhenFailed.delete(id);
    }
    const isOutage = isProbe || (failures.length > 1 && failures.length >= this.#accepted - before);
    const poisonIds = failures.filter((id) => !isOutage && before > (this.#acceptedWhenFailed.get(id) ?? before));
    for (const id of failures) this.#remember(id);
    return new Set(poisonIds);
  }

  #remember(id: string): void {
    this.#acceptedWhenFailed.delete(id);
    this.#acceptedWhenFailed.set(id, this.#accepted);
    if (this.#acceptedWhenFailed.size > MAX_REMEMBERED) {
      this.#acceptedWhenFailed.delete(this.#acceptedWhenFailed.keys().next().value!);
    }
  }
}
