// Owns latency samples and their quantiles.
// Refuses to own timing. Invariant: quantiles are of samples that were taken, never interpolated.

/** Quantiles in ms. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Samples in ms, at most `capacity`; further ones are dropped and counted. */
export class Samples {
  readonly #values: Float64Array;
  #count = 0;
  dropped = 0;

  constructor(capacity: number) {
    this.#values = new Float64Array(capacity);
  }

  add(ms: number): void {
    if (this.#count === this.#values.length) this.dropped++;
    else this.#values[this.#count++] = ms;
  }

  latency(): Latency {
    const sorted = this.#values.slice(0, this.#count).sort();
    const at = (quantile: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))] ?? NaN;
    return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) };
  }
}
