// Owns mutual exclusion of asynchronous work.
// Refuses to know what the work is, and to bound how much may wait: its callers have a fixed number of tasks.
// Invariant: work runs one at a time, in the order in which it was asked for; when nothing waits, at once.

export class Turn {
  #last: Promise<void> | null = null;

  /** Runs `work` when all that was asked for before has settled; settles as it does. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last === null ? work() : this.#last.then(work);
    const settled: Promise<void> = result.then(() => this.#end(settled), () => this.#end(settled));
    this.#last = settled;
    return result;
  }

  #end(settled: Promise<void>): void {
    if (this.#last === settled) this.#last = null;
  }
}
