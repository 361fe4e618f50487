/** Auto-reset event: wakes the waiter. A signal without a waiter is stored for the next `wait`. */
export class WakeSignal {
  #isSet = false;
  #wakeWaiter: (() => void) | undefined;

  wake(): void {
    this.#isSet = true;
    this.#wakeWaiter?.();
  }

  /** Resolves at the next signal, or after `ms` milliseconds. @returns whether it was signalled */
  async wait(ms: number): Promise<boolean> {
    if (!this.#isSet) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wakeWaiter = resolve;
      const timer = setTimeout(resolve, ms);
      await promise;
      clearTimeout(timer);
      this.#wakeWaiter = undefined;
    }
    const wasSet = this.#isSet;
    this.#isSet = false;
    return wasSet;
  }
}
