// Owns how many jobs are worked on at once, and how many of those that only wait keep in memory what they have read.
// Refuses to know what the work is, and why it waits.
// Invariant: work that waits aside holds no place, so that slow jobs hold up no others.
import { Slots } from "../../storage/turns.ts";

/** What may become of work that steps aside. */
export interface Aside {
  /** Settles when there is something to do again. */
  wait(): Promise<void>;
  /** Lets go of what was read: too many others keep theirs. */
  forget(): void;
}

export class JobPlaces {
  readonly #slots: Slots;
  #keeping = 0;

  /** At most `count` are worked on, and as many keep what they have read while they wait aside. */
  constructor(readonly count: number) {
    this.#slots = new Slots(count);
  }

  /** Runs `work` when there is a place; settles as it does. */
  run<T>(work: () => Promise<T>): Promise<T> {
    return this.#slots.run(work);
  }

  /** Called by work that has a place: waits without it, and goes on when there is one again. */
  async aside({ wait, forget }: Aside): Promise<void> {
    const keeps = this.#keeping < this.count;
    if (keeps) this.#keeping++;
    else forget();
    try {
      await this.#slots.aside(wait);
    } finally {
      if (keeps) this.#keeping--;
    }
  }
}
