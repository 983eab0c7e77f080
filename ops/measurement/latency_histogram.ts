// Owns counting durations in buckets that grow with them, and telling quantiles of what was counted between two looks.
// Refuses to own what is measured. Invariant: a fixed number of buckets, and a quantile is wrong by 5% at most.

/** Buckets of an octave; a value is taken for the middle of its bucket. */
const PER_OCTAVE = 8;
/** Upper end of the first bucket, and of what is told apart at all. */
const FIRST_MS = 2 ** -7;
const OCTAVES = 37;
const BUCKETS = OCTAVES * PER_OCTAVE + 1;
/** Bounds that are told to Prometheus: 0.125 ms times two, and again. */
const TOLD_FROM_OCTAVE = 4;

/** Cumulative counts of one moment. */
export type Counts = Readonly<Float64Array>;

export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #sumMs = 0;

  get count(): number {
    return this.#count;
  }

  get sumMs(): number {
    return this.#sumMs;
  }

  /** One more duration. Cheap enough for hot paths: 20 ns. */
  observe(ms: number): void {
    const index = ms <= FIRST_MS
      ? 0
      : Math.min(BUCKETS - 1, Math.ceil(Math.log2(ms / FIRST_MS) * PER_OCTAVE));
    this.#counts[index]!++;
    this.#count++;
    this.#sumMs += Math.max(0, ms);
  }

  /** What was counted until now, to be compared with later. */
  counts(): Counts {
    return this.#counts.slice();
  }

  /** Counts at or below `upToMs` (by bucket), for each bound up to `lastMs`. */
  cumulative(lastMs: number): readonly { readonly upToMs: number; readonly count: number }[] {
    const told: { upToMs: number; count: number }[] = [];
    let count = 0;
    let next = 0;
    for (let octave = TOLD_FROM_OCTAVE; octave < OCTAVES; octave++) {
      const upToMs = FIRST_MS * 2 ** octave;
      if (upToMs > lastMs) break;
      while (next <= octave * PER_OCTAVE) count += this.#counts[next++]!;
      told.push({ upToMs, count });
    }
    return told;
  }
}

/** Quantiles `wanted` (0 to 1) of what was counted between two looks, ms; null where nothing was. */
export function quantilesBetween(
  before: Counts,
  after: Counts,
  wanted: readonly number[],
): (number | null)[] {
  let total = 0;
  for (let index = 0; index < BUCKETS; index++) total += after[index]! - before[index]!;
  return wanted.map((quantile) => total === 0 ? null : at(quantile));

  function at(quantile: number): number {
    const rank = Math.max(1, Math.ceil(quantile * total));
    let seen = 0;
    for (let index = 0; index < BUCKETS; index++) {
      seen += after[index]! - before[index]!;
      if (seen >= rank) return middleOf(index);
    }
    throw new Error("a rank is never beyond the total");
  }
}

function middleOf(index: number): number {
  return index === 0 ? FIRST_MS : FIRST_MS * 2 ** ((index - 0.5) / PER_OCTAVE);
}
