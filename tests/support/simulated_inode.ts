// Owns one file of the simulated disk: what is on disk, what readers see, and what lies between.
// Refuses to own names and open handles (simulated_disk.ts, where the fault model is written down).
// Invariant: applying all changes to the durable bytes gives the visible ones, unless a sync failed.
import type { SeededRandomness } from "./seeded_randomness.ts";

/** What a crash does to changes that were not synced. */
export type CrashFate = "keep" | "drop" | "random";

const SECTOR_BYTES = 512;

type FileChange =
  | { readonly type: "write"; readonly bytes: Uint8Array; readonly position: number }
  | { readonly type: "truncate"; readonly size: number };

/** Bytes that grow without being copied on each write. */
class GrowingBytes {
  #buffer = new Uint8Array(0);
  length = 0;

  get view(): Uint8Array {
    return this.#buffer.subarray(0, this.length);
  }

  resize(length: number): void {
    if (length > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(length, this.#buffer.length * 2));
      grown.set(this.view);
      this.#buffer = grown;
    }
    if (length < this.length) this.#buffer.fill(0, length, this.length);
    this.length = length;
  }

  write(bytes: Uint8Array, position: number): void {
    if (bytes.length === 0) return;
    this.resize(Math.max(this.length, position + bytes.length));
    this.#buffer.set(bytes, position);
  }

  apply(change: FileChange): void {
    if (change.type === "truncate") this.resize(change.size);
    else this.write(change.bytes, change.position);
  }
}

/** Whether a change that is all or nothing survives a crash. */
export function surviving(fate: CrashFate, randomness: SeededRandomness): boolean {
  return fate === "random" ? randomness.integer(2) === 0 : fate === "keep";
}

export class SimulatedInode {
  #durable = new GrowingBytes();
  #visible = new GrowingBytes();
  #changes: FileChange[] = [];

  get changeCount(): number {
    return this.#changes.length;
  }

  /** As a reader sees them; not to be kept or written to. */
  bytes(): Uint8Array {
    return this.#visible.view;
  }

  write(bytes: Uint8Array, position: number): void {
    this.#do({ type: "write", bytes, position });
  }

  truncate(size: number): void {
    this.#do({ type: "truncate", size });
  }

  makeDurable(count: number): void {
    for (const change of this.#changes.splice(0, count)) this.#durable.apply(change);
  }

  /** A failed sync: some of it was written, and other data is forgotten although readers still see it. */
  loseChanges(randomness: SeededRandomness): void {
    for (const change of this.#changes) this.#settleOne(change, "random", randomness);
    // Sizes are journalled metadata, as names are: a later sync does write them.
    this.#changes = this.#changes.filter((change) => change.type === "truncate");
  }

  settle(fate: CrashFate, randomness: SeededRandomness): void {
    for (const change of this.#changes.splice(0)) this.#settleOne(change, fate, randomness);
    this.#visible = new GrowingBytes();
    this.#visible.write(this.#durable.view, 0);
  }

  clone(): SimulatedInode {
    const twin = new SimulatedInode();
    twin.replace(this.bytes());
    return twin;
  }

  replace(bytes: Uint8Array): void {
    for (const state of [this.#durable, this.#visible]) {
      state.resize(0);
      state.write(bytes, 0);
    }
    this.#changes = [];
  }

  #do(change: FileChange): void {
    this.#visible.apply(change);
    this.#changes.push(change);
  }

  #settleOne(change: FileChange, fate: CrashFate, randomness: SeededRandomness): void {
    if (change.type === "truncate" || fate !== "random") {
      if (surviving(fate, randomness)) this.#durable.apply(change);
      return;
    }
    const { bytes, position } = change;
    switch (randomness.pick(["keep", "drop", "prefix", "zeros", "sectors", "garbage"] as const)) {
      case "keep":
        return this.#durable.apply(change);
      case "drop":
        return;
      case "prefix":
        return this.#durable.write(bytes.slice(0, randomness.integer(bytes.length + 1)), position);
      case "zeros":
        return this.#tear(change, () => "old");
      case "sectors":
        return this.#tear(change, () => randomness.pick(["old", "new"]));
      case "garbage":
        return this.#tear(change, () => randomness.pick(["old", "new", "garbage"]), randomness);
    }
  }

  /** Lets each sector be as it was, as it was written, or garbage where the file had nothing before. */
  #tear(
    { bytes, position }: { bytes: Uint8Array; position: number },
    fateOfSector: () => "old" | "new" | "garbage",
    randomness?: SeededRandomness,
  ): void {
    const before = this.#durable.length;
    const end = position + bytes.length;
    if (end > before) this.#durable.resize(end);
    for (let from = position; from < end;) {
      const to = Math.min(end, (Math.floor(from / SECTOR_BYTES) + 1) * SECTOR_BYTES);
      const fate = fateOfSector();
      if (fate === "new") {
        this.#durable.write(bytes.subarray(from - position, to - position), from);
      }
      if (fate === "garbage") {
        for (let at = Math.max(from, before); at < to; at++) {
          this.#durable.write(Uint8Array.of(randomness!.integer(256)), at);
        }
      }
      from = to;
    }
  }
}
