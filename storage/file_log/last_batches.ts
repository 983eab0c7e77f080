// Owns which batch of each producer is its last in a range of a log, records and markers apart.
// Refuses to own what is done about it (batch_cleaner.ts).
// Invariant: memory is bounded by named counts; beyond them a batch is taken for a last one, which keeps too much, never too little.
import { type BatchHeader, CONTROL_BIT } from "../format/record_batch.ts";

/** Producers that are remembered. */
const MAX_PRODUCERS = 500_000;

export class LastBatches {
  readonly #ofRecords = new Map<number, number>();
  readonly #ofMarkers = new Map<number, number>();

  /** Batches come in the order of their offsets. */
  note(header: BatchHeader): void {
    const { producerId, baseOffset } = header;
    if (producerId < 0) return;
    const last = this.#of(header);
    if (last.size < MAX_PRODUCERS || last.has(producerId)) last.set(producerId, baseOffset);
  }

  /** Whether a later one of the same kind and producer was noted. */
  isBefore(header: BatchHeader): boolean {
    return (this.#of(header).get(header.producerId) ?? -1) > header.baseOffset;
  }

  #of({ attributes }: BatchHeader): Map<number, number> {
    return (attributes & CONTROL_BIT) === 0 ? this.#ofRecords : this.#ofMarkers;
  }
}
