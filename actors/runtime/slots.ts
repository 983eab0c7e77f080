// Owns how much asynchronous work runs at the same time.
// Refuses to know what the work is, and to bound what waits: its callers hand in what they have anyway.
// Invariant: at most `count` pieces run; those that wait start in the order in which they were handed in.

export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(readonly count: number) {
    this.#free = count;
  }

  /** Runs `work` when there is a slot for it; settles as it does. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
