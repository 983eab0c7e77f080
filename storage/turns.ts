// Owns how many pieces of asynchronous work run at once: one (Turn), or a few (Slots).
// Refuses to know what the work is, and to bound how much may wait: its callers have a fixed number of tasks.
// Invariant: work starts in the order in which it was asked for; when there is room, at once.

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

export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Runs `work` when fewer than the given number are running; settles as it does. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#enter()) await this.#room();
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  /** Called by work that runs: lets another run until `wait` has settled, and goes on when there is room again. */
  async aside<T>(wait: () => Promise<T>): Promise<T> {
    this.#leave();
    try {
      return await wait();
    } finally {
      if (!this.#enter()) await this.#room();
    }
  }

  #enter(): boolean {
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  #room(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
