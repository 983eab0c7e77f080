// Owns how often each kind of fault has struck, for the report.
// Refuses to inject any. Invariant: a count only grows.

export class Counts {
  readonly #counts = new Map<string, number>();

  add(kind: string, count = 1): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + count);
  }

  addAll(other: Readonly<Record<string, number>>): void {
    for (const [kind, count] of Object.entries(other)) this.add(kind, count);
  }

  /** By kind, in order of the names. */
  all(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => a < b ? -1 : 1));
  }
}
