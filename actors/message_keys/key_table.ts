// Owns the keys of one topic: which are known, where their first messages are, which are the oldest.
// Refuses to own time (handed in), the log, and keys of appends under way (topic_keys.ts).
// Invariant: pure; entries lie in a ring in the order of their times; the first message with a key is never replaced.
import type { KeyHash } from "./key_hash.ts";

/** Where the first message with a key is. */
export interface KeyPlace {
  readonly partition: number;
  readonly offset: number;
}

/** What a table holds, oldest first, in columns: for snapshots. Four lanes a key in `hashes`. */
export interface KeyColumns {
  readonly hashes: Uint32Array;
  readonly partitions: Uint32Array;
  readonly offsets: Float64Array;
  readonly timesMs: Float64Array;
}

export interface KeyTableOptions {
  readonly windowMs: number;
  readonly maxKeys: number;
}

const LANES = 4;
const FIRST_CAPACITY = 64;
/** Slots of the hash index for each place of the ring: at most half are taken. */
const SLOTS_PER_PLACE = 2;

/** About 56 bytes a key when full: columns in typed arrays, found by open addressing. */
export class KeyTable {
  #capacity = 0;
  #hashes: Uint32Array = new Uint32Array(0);
  #partitions: Uint32Array = new Uint32Array(0);
  #offsets: Float64Array = new Float64Array(0);
  #timesMs: Float64Array = new Float64Array(0);
  /** Place in the ring plus one; 0 is free. */
  #slots: Uint32Array = new Uint32Array(0);
  #head = 0;
  #size = 0;

  constructor(private readonly options: KeyTableOptions) {
    this.#resize(FIRST_CAPACITY);
  }

  get size(): number {
    return this.#size;
  }

  /** Where the first message with this key is, null when the key is not known. */
  find(hash: KeyHash): KeyPlace | null {
    const slot = this.#slotOf(hash);
    const place = this.#slots[slot]!;
    if (place === 0) return null;
    return { partition: this.#partitions[place - 1]!, offset: this.#offsets[place - 1]! };
  }

  /** Adds a key that came at `atMs`; a known one stays as it is. Returns how many old ones had to go for it (0 or 1). */
  add(hash: KeyHash, place: KeyPlace, atMs: number): number {
    if (this.#slots[this.#slotOf(hash)] !== 0) return 0;
    let evicted = 0;
    if (this.#size >= this.options.maxKeys) evicted = this.evict(1);
    if (this.#size === this.#capacity) this.#resize(this.#capacity * 2);
    const at = (this.#head + this.#size) % this.#capacity;
    const lastMs = this.#size === 0 ? -Infinity : this.#timesMs[this.#back(1)]!;
    this.#hashes.set(hash, at * LANES);
    this.#partitions[at] = place.partition;
    this.#offsets[at] = place.offset;
    this.#timesMs[at] = Math.max(atMs, lastMs);
    this.#size++;
    this.#slots[this.#slotOf(hash)] = at + 1;
    return evicted;
  }

  /** Forgets what is as old as the window; returns how many that were. */
  expire(nowMs: number): number {
    const { windowMs } = this.options;
    let count = 0;
    while (this.#size > 0 && this.#timesMs[this.#head]! + windowMs <= nowMs) {
      this.#dropOldest();
      count++;
    }
    if (count > 0) this.#shrink();
    return count;
  }

  /** Forgets the oldest `count`, whatever their age; returns how many there were. */
  evict(count: number): number {
    const dropped = Math.min(count, this.#size);
    for (let left = dropped; left > 0; left--) this.#dropOldest();
    return dropped;
  }

  /** A copy of everything, oldest first. */
  columns(): KeyColumns {
    const size = this.#size;
    return {
      hashes: unrolled(this.#hashes, new Uint32Array(size * LANES), this.#head * LANES),
      partitions: unrolled(this.#partitions, new Uint32Array(size), this.#head),
      offsets: unrolled(this.#offsets, new Float64Array(size), this.#head),
      timesMs: unrolled(this.#timesMs, new Float64Array(size), this.#head),
    };
  }

  #back(count: number): number {
    return (this.#head + this.#size - count) % this.#capacity;
  }

  /** Slot of the key, or the free one where it belongs. */
  #slotOf(hash: KeyHash): number {
    const mask = this.#slots.length - 1;
    let slot = hash[0]! & mask;
    while (true) {
      const place = this.#slots[slot]!;
      if (place === 0 || this.#isAt(hash, (place - 1) * LANES)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #isAt(hash: KeyHash, at: number): boolean {
    const hashes = this.#hashes;
    return hashes[at] === hash[0] && hashes[at + 1] === hash[1] && hashes[at + 2] === hash[2] &&
      hashes[at + 3] === hash[3];
  }

  #dropOldest(): void {
    const at = this.#head * LANES;
    this.#free(this.#slotOf(this.#hashes.subarray(at, at + LANES)));
    this.#head = (this.#head + 1) % this.#capacity;
    this.#size--;
  }

  /** Frees a slot and moves up those behind it that would not be found any more across the gap. */
  #free(slot: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let gap = slot;
    for (let next = (gap + 1) & mask; slots[next] !== 0; next = (next + 1) & mask) {
      const home = this.#hashes[(slots[next]! - 1) * LANES]! & mask;
      if (((next - home) & mask) < ((next - gap) & mask)) continue;
      slots[gap] = slots[next]!;
      gap = next;
    }
    slots[gap] = 0;
  }

  /** Gives memory back once three quarters of it are free twice over. */
  #shrink(): void {
    if (this.#capacity <= FIRST_CAPACITY || this.#size > this.#capacity / 8) return;
    let capacity = FIRST_CAPACITY;
    while (capacity < this.#size * 2) capacity *= 2;
    this.#resize(capacity);
  }

  #resize(capacity: number): void {
    const { hashes, partitions, offsets, timesMs } = this.columns();
    this.#capacity = capacity;
    this.#head = 0;
    this.#hashes = widened(hashes, new Uint32Array(capacity * LANES));
    this.#partitions = widened(partitions, new Uint32Array(capacity));
    this.#offsets = widened(offsets, new Float64Array(capacity));
    this.#timesMs = widened(timesMs, new Float64Array(capacity));
    this.#slots = new Uint32Array(capacity * SLOTS_PER_PLACE);
    for (let place = 0; place < this.#size; place++) {
      const at = place * LANES;
      this.#slots[this.#slotOf(this.#hashes.subarray(at, at + LANES))] = place + 1;
    }
  }
}

/** The part of the ring from `from` on, as long as `into`. */
function unrolled<Column extends Uint32Array | Float64Array>(
  ring: Column,
  into: Column,
  from: number,
): Column {
  const first = Math.min(into.length, ring.length - from);
  into.set(ring.subarray(from, from + first));
  into.set(ring.subarray(0, into.length - first), first);
  return into;
}

function widened<Column extends Uint32Array | Float64Array>(from: Column, into: Column): Column {
  into.set(from);
  return into;
}
