// Owns where each leader epoch starts in a log, in memory and as the bytes of `leader-epoch-checkpoint`.
// Refuses to own when the file is written, and to know of leaders: an epoch is a number in a batch.
// Invariant: epochs and start offsets both grow along the list. The file is a cache: the batches can rebuild it.
import { lowerBound } from "../lower_bound.ts";
import type { Crc32c } from "../ports.ts";

interface EpochStart {
  readonly leaderEpoch: number;
  readonly startOffset: number;
}

const FORMAT = "waybill-leader-epochs 1";

export class LeaderEpochs {
  #starts: EpochStart[] = [];
  #version = 1;
  #savedVersion = 0;

  /** Changes with the list. */
  get version(): number {
    return this.#version;
  }

  /** Whether the list changed since it was last saved or loaded. */
  get unsaved(): boolean {
    return this.#version !== this.#savedVersion;
  }

  /** The list as it was at `version` is on disk. */
  markSaved(version: number): void {
    this.#savedVersion = version;
  }

  /** The newest epoch, -1 when there is none. */
  get latest(): number {
    return this.#starts.at(-1)?.leaderEpoch ?? -1;
  }

  /** Notes that a batch at `offset`, at or behind all earlier ones, carries `leaderEpoch`. */
  note(leaderEpoch: number, offset: number): void {
    if (leaderEpoch <= this.latest) return;
    this.#starts.push({ leaderEpoch, startOffset: offset });
    this.#version++;
  }

  /** Epoch of the record at `offset`, -1 when it lies before the first that is known. */
  at(offset: number): number {
    const starts = this.#starts;
    const after = lowerBound(starts.length, (index) => starts[index]!.startOffset <= offset);
    return starts[after - 1]?.leaderEpoch ?? -1;
  }

  /** See Log.endOffsetForEpoch. */
  endOffsetFor(
    leaderEpoch: number,
    log: { logStartOffset: number; logEndOffset: number },
  ): { leaderEpoch: number; endOffset: number } {
    const index = this.#starts.findLastIndex((start) => start.leaderEpoch <= leaderEpoch);
    if (index < 0) return { leaderEpoch: -1, endOffset: log.logStartOffset };
    return {
      leaderEpoch: this.#starts[index]!.leaderEpoch,
      endOffset: this.#starts[index + 1]?.startOffset ?? log.logEndOffset,
    };
  }

  /** Forgets epochs that start at or behind `offset`. */
  cutFrom(offset: number): void {
    const kept = this.#starts.filter((start) => start.startOffset < offset);
    if (kept.length === this.#starts.length) return;
    this.#starts = kept;
    this.#version++;
  }

  /** Forgets epochs that end at or before `offset`; the one that holds it stays. */
  dropBefore(offset: number): void {
    const first = this.#starts.findLastIndex((start) => start.startOffset <= offset);
    if (first <= 0) return;
    this.#starts = this.#starts.slice(first);
    this.#version++;
  }

  encode(crc32c: Crc32c): Uint8Array {
    const lines = this.#starts.map((start) => `${start.leaderEpoch} ${start.startOffset}\n`);
    const body = lines.join("");
    const checksum = crc32c(new TextEncoder().encode(body));
    return new TextEncoder().encode(`${FORMAT} ${checksum}\n${body}`);
  }

  /** The list as it was saved, null when the bytes are not whole and valid. */
  static decode(bytes: Uint8Array, crc32c: Crc32c): LeaderEpochs | null {
    const text = new TextDecoder().decode(bytes);
    const headEnd = text.indexOf("\n");
    const body = text.slice(headEnd + 1);
    const head = `${FORMAT} ${crc32c(new TextEncoder().encode(body))}`;
    if (text.slice(0, headEnd) !== head) return null;
    const epochs = new LeaderEpochs();
    for (const line of body.split("\n").slice(0, -1)) {
      const [leaderEpoch, startOffset] = line.split(" ").map(Number);
      epochs.note(leaderEpoch!, startOffset!);
    }
    epochs.markSaved(epochs.version);
    return epochs;
  }
}
