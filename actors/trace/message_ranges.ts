// Owns asking which messages of a trace lie in a range of offsets.
// Refuses to own where the messages were found. Invariant: what happened before a topic was made, happened to another of its name.
import type { PlacedRun } from "./follower.ts";
import type { TraceEvent } from "./types.ts";

/** Messages next to each other, as an event names them. */
export type EventPlace = Pick<TraceEvent, "topic" | "partition" | "offset" | "lastOffset">;

export class MessageRanges {
  /** By topic, then by partition, ascending. */
  readonly #runs = new Map<string, Map<number, PlacedRun[]>>();

  constructor(runs: readonly PlacedRun[]) {
    for (const run of runs.toSorted((a, b) => a.firstOffset - b.firstOffset)) {
      let partitions = this.#runs.get(run.topic);
      if (partitions === undefined) this.#runs.set(run.topic, partitions = new Map());
      const known = partitions.get(run.partition);
      if (known === undefined) partitions.set(run.partition, [run]);
      else known.push(run);
    }
  }

  get topics(): string[] {
    return [...this.#runs.keys()];
  }

  /** What of the offsets from `from` to before `to` is of the trace, for what happened at `atMs`. */
  *within(
    { topic, partition }: { readonly topic: string; readonly partition: number },
    { from, to, atMs }: { readonly from: number; readonly to: number; readonly atMs: number },
  ): Generator<EventPlace> {
    const runs = this.#runs.get(topic)?.get(partition);
    if (runs === undefined) return;
    for (let i = firstEndingFrom(runs, from); i < runs.length; i++) {
      const run = runs[i]!;
      if (run.firstOffset >= to) return;
      if (atMs < run.createdAt) continue;
      const offset = Math.max(from, run.firstOffset);
      const lastOffset = Math.min(to - 1, run.lastOffset);
      yield { topic, partition, offset, ...(lastOffset > offset ? { lastOffset } : {}) };
    }
  }
}

/** Index of the first run that does not end before `offset`. */
function firstEndingFrom(runs: readonly PlacedRun[], offset: number): number {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (runs[middle]!.lastOffset < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}
