// Owns the times at which partitions acknowledged, and what they say of interruptions.
// Refuses to own publishing. Pure: times come in, in their order, monotonic ms.
// Invariant: a partition that never acknowledged in a span was silent for all of it.

interface Acknowledgement {
  /** When the request that was acknowledged was sent. */
  readonly sentMs: number;
  readonly ackedMs: number;
}

export class Silences {
  readonly #acks: Acknowledgement[][];

  constructor(partitions: number) {
    this.#acks = Array.from({ length: partitions }, () => []);
  }

  acknowledged(partition: number, acknowledgement: Acknowledgement): void {
    this.#acks[partition]!.push(acknowledgement);
  }

  /** When the last partition acknowledged what was sent after `sinceMs`; null while one has not. */
  allAckedAt(sinceMs: number): number | null {
    let last = 0;
    for (const acks of this.#acks) {
      const first = firstSentAfter(acks, sinceMs);
      if (first === null) return null;
      last = Math.max(last, first.ackedMs);
    }
    return last;
  }

  /** Partitions that have not acknowledged anything sent after `sinceMs`. */
  silentSince(sinceMs: number): number[] {
    return this.#acks.flatMap((acks, partition) =>
      firstSentAfter(acks, sinceMs) === null ? [partition] : []
    );
  }

  /** The longest time within the span in which some partition acknowledged nothing, ms. */
  longest(fromMs: number, toMs: number): number {
    let longest = 0;
    for (const acks of this.#acks) {
      let before = fromMs;
      for (const { ackedMs } of acks) {
        if (ackedMs < fromMs) continue;
        if (ackedMs >= toMs) break;
        longest = Math.max(longest, ackedMs - before);
        before = ackedMs;
      }
      longest = Math.max(longest, toMs - before);
    }
    return Math.round(longest);
  }

  /** Sorted, of what was acknowledged in the span: how long each took, ms. */
  latencies(fromMs: number, toMs: number): number[] {
    return this.#acks.flat().filter(({ ackedMs }) => ackedMs >= fromMs && ackedMs < toMs)
      .map(({ sentMs, ackedMs }) => ackedMs - sentMs).sort((a, b) => a - b);
  }
}

/** The newest ones are looked at first: they are what is asked for. */
function firstSentAfter(acks: readonly Acknowledgement[], sinceMs: number): Acknowledgement | null {
  let first: Acknowledgement | null = null;
  for (let index = acks.length - 1; index >= 0 && acks[index]!.ackedMs > sinceMs; index--) {
    if (acks[index]!.sentMs > sinceMs) first = acks[index]!;
  }
  return first;
}
