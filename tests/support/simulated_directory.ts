// Owns one directory of the simulated disk: the names on disk, those that readers see, and the changes between.
// Refuses to own paths and calls (simulated_disk.ts, where the fault model is written down).
// Invariant: applying all changes to the durable names gives the visible ones.
import type { SeededRandomness } from "./seeded_randomness.ts";
import { type CrashFate, SimulatedInode, surviving } from "./simulated_inode.ts";

export type Entry = SimulatedInode | SimulatedDirectory;

type DirectoryChange =
  | { readonly type: "set"; readonly name: string; readonly entry: Entry }
  | { readonly type: "delete"; readonly name: string }
  | { readonly type: "rename"; readonly from: string; readonly to: string; readonly entry: Entry };

export class SimulatedDirectory {
  #visible = new Map<string, Entry>();
  #durable = new Map<string, Entry>();
  #changes: DirectoryChange[] = [];

  /** As readers see it. */
  get visible(): ReadonlyMap<string, Entry> {
    return this.#visible;
  }

  get changeCount(): number {
    return this.#changes.length;
  }

  change(change: DirectoryChange): void {
    applyTo(this.#visible, change);
    this.#changes.push(change);
  }

  /** The first `count` changes that are not yet on disk now are. */
  makeDurable(count: number): void {
    for (const change of this.#changes.splice(0, count)) applyTo(this.#durable, change);
  }

  /** A failed sync: what it would have written is written in part. */
  writeSome(randomness: SeededRandomness): void {
    for (const change of this.#changes) {
      if (surviving("random", randomness)) applyTo(this.#durable, change);
    }
  }

  /** A crash: this directory and all below it are what the disk holds. */
  settle(fate: CrashFate, randomness: SeededRandomness): void {
    for (const change of this.#changes.splice(0)) {
      if (surviving(fate, randomness)) applyTo(this.#durable, change);
    }
    this.#visible = new Map(this.#durable);
    for (const entry of this.#visible.values()) entry.settle(fate, randomness);
  }

  usedBytes(): number {
    return this.#visible.values().reduce(
      (sum, entry) =>
        sum + (entry instanceof SimulatedInode ? entry.bytes().length : entry.usedBytes()),
      0,
    );
  }

  /** A copy that holds, durably, what readers see here now. */
  clone(): SimulatedDirectory {
    const twin = new SimulatedDirectory();
    for (const [name, entry] of this.#visible) {
      twin.change({ type: "set", name, entry: entry.clone() });
    }
    twin.makeDurable(twin.changeCount);
    return twin;
  }
}

function applyTo(entries: Map<string, Entry>, change: DirectoryChange): void {
  if (change.type === "set") entries.set(change.name, change.entry);
  else if (change.type === "delete") entries.delete(change.name);
  else {
    entries.delete(change.from);
    entries.set(change.to, change.entry);
  }
}
