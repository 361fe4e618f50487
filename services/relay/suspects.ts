/** More than these are forgotten, the longest known first: that costs them one more try. */
const MAX_REMEMBERED = 1_000;

/**
 * Tells poison from an outage, for one topic. All failures look alike, so a failure counts as the message's own only when it had failed
 * before, other messages went through since, and this time it was not one of several that failed together, as many as went through or more.
 * An outage, also one that catches a wave halfway, thus costs no message an attempt.
 */
export class Suspects {
  #accepted = 0;
  readonly #acceptedWhenFailed = new Map<string, number>();

  /** Learns the answer to one wave. @returns those of `failed` whose failure is their own */
  judge(accepted: Iterable<string>, failed: Iterable<string>): Set<string> {
    const failures = [...failed];
    const before = this.#accepted;
    for (const id of accepted) {
      this.#accepted++;
      this.#acceptedWhenFailed.delete(id);
    }
    const together = failures.length > 1 && failures.length >= this.#accepted - before;
    const guilty = failures.filter((id) => !together && before > (this.#acceptedWhenFailed.get(id) ?? before));
    for (const id of failures) this.#remember(id);
    return new Set(guilty);
  }

  #remember(id: string): void {
    this.#acceptedWhenFailed.delete(id);
    this.#acceptedWhenFailed.set(id, this.#accepted);
    if (this.#acceptedWhenFailed.size > MAX_REMEMBERED) {
      this.#acceptedWhenFailed.delete(this.#acceptedWhenFailed.keys().next().value!);
    }
  }
}
