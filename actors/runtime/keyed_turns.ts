// Owns mutual exclusion of asynchronous work by key.
// Refuses to know what the work is.
// Invariant: work of one key runs one at a time, in the order in which it was asked for; other keys do not wait for it.

export class KeyedTurns {
  readonly #last = new Map<string, Promise<void>>();

  /** Runs `work` when all that was asked for before under `key` has settled; settles as it does. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key);
    const turn = Promise.withResolvers<void>();
    this.#last.set(key, turn.promise);
    try {
      await before;
      return await work();
    } finally {
      if (this.#last.get(key) === turn.promise) this.#last.delete(key);
      turn.resolve();
    }
  }

  /** Resolves when all that was asked for until now has settled. */
  async settled(): Promise<void> {
    await Promise.all(this.#last.values());
  }
}
