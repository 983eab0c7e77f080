// Owns the newest batches of each log in memory, so that readers at the tail never touch the disk.
// Refuses to own durability: what is put here is already in the log.
// Invariant: a log's cached batches are contiguous and end at its log end. All caches of a budget hold at most its bytes,
// and a log that holds no more than its equal share loses nothing to the others.
import { lowerBound } from "../lower_bound.ts";
import { lastOffsetDeltaAt } from "../format/record_batch.ts";

/** Default for the batches that all logs of a store keep in memory. */
export const DEFAULT_TAIL_CACHE_BYTES = 64 * 1024 * 1024;
/** A view is copied when it would keep a buffer alive that is this many times as large. */
const MAX_PINNED_FACTOR = 4;
/** Evicted places at the front of a cache that are kept before the array is cut. */
const MAX_DEAD_ENTRIES = 1_024;

interface CachedBatch {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly bytes: Uint8Array;
}

/** Bytes shared by the tail caches of many logs. */
export class TailCacheBudget {
  #usedBytes = 0;
  readonly #caches = new Set<TailCache>();
  #victims: Iterator<TailCache> | null = null;

  constructor(readonly maxBytes: number = DEFAULT_TAIL_CACHE_BYTES) {}

  get usedBytes(): number {
    return this.#usedBytes;
  }

  join(cache: TailCache): void {
    this.#caches.add(cache);
  }

  leave(cache: TailCache): void {
    this.#caches.delete(cache);
  }

  /** Notes a change of `cache` by `bytes`, and evicts from logs above their share until the budget holds. */
  change(bytes: number, cache: TailCache): void {
    this.#usedBytes += bytes;
    if (bytes <= 0) return;
    const shareBytes = this.maxBytes / this.#caches.size;
    while (this.#usedBytes > this.maxBytes) {
      const victim = cache.usedBytes > shareBytes ? cache : this.#nextAbove(shareBytes);
      victim.evictOldest();
    }
  }

  /** Goes round; there is one above the share whenever all together are above the budget. */
  #nextAbove(shareBytes: number): TailCache {
    for (let steps = 0; steps <= 2 * this.#caches.size + 1; steps++) {
      const next: IteratorResult<TailCache> = (this.#victims ??= this.#caches.values()).next();
      if (next.done === true) this.#victims = null;
      else if (next.value.usedBytes > shareBytes) return next.value;
    }
    throw new Error(`no tail cache is above its share of ${shareBytes} bytes`);
  }
}

/** The newest batches of one log. */
export class TailCache {
  #batches: CachedBatch[] = [];
  #first = 0;
  #usedBytes = 0;

  constructor(private readonly budget: TailCacheBudget) {
    budget.join(this);
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Takes over a batch that was appended at `baseOffset`. */
  push(batch: Uint8Array, baseOffset: number): void {
    if (batch.length > this.budget.maxBytes) return this.clear();
    const pinsTooMuch = batch.buffer.byteLength > batch.length * MAX_PINNED_FACTOR;
    const bytes = pinsTooMuch ? batch.slice() : batch;
    const endOffset = baseOffset + lastOffsetDeltaAt(batch, 0) + 1;
    this.#batches.push({ baseOffset, endOffset, bytes });
    this.#usedBytes += bytes.length;
    this.budget.change(bytes.length, this);
  }

  /**
   * The batches that hold `offset` and what follows, up to `limitOffset` and `maxBytes`: see Log.read. A single one is
   * returned without a copy. Null when the first of them is not here.
   */
  read(offset: number, options: { limitOffset: number; maxBytes: number }): Uint8Array | null {
    const from = this.#indexOf(offset);
    if (from === null) return null;
    let sizeBytes = 0;
    let to = from;
    for (; to < this.#batches.length; to++) {
      const { endOffset, bytes } = this.#batches[to]!;
      if (endOffset > options.limitOffset) break;
      if (to > from && sizeBytes + bytes.length > options.maxBytes) break;
      sizeBytes += bytes.length;
    }
    if (to - from === 1) return this.#batches[from]!.bytes;
    const joined = new Uint8Array(sizeBytes);
    let at = 0;
    for (let index = from; index < to; index++) {
      joined.set(this.#batches[index]!.bytes, at);
      at += this.#batches[index]!.bytes.length;
    }
    return joined;
  }

  evictOldest(): void {
    const oldest = this.#batches[this.#first];
    if (oldest === undefined) throw new Error("an empty tail cache has nothing to evict");
    this.#batches[this.#first++] = EVICTED;
    if (this.#first > MAX_DEAD_ENTRIES && this.#first * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#first);
      this.#first = 0;
    }
    this.#release(oldest);
  }

  /** Forgets batches that reach beyond `offset`. */
  cutFrom(offset: number): void {
    while (this.#batches.length > this.#first && this.#batches.at(-1)!.endOffset > offset) {
      this.#release(this.#batches.pop()!);
    }
  }

  /** Forgets batches that end at or before `offset`. */
  dropBefore(offset: number): void {
    while ((this.#batches[this.#first]?.endOffset ?? Infinity) <= offset) this.evictOldest();
  }

  clear(): void {
    while (this.#batches.length > this.#first) this.#release(this.#batches.pop()!);
  }

  /** Gives all bytes back to the budget for good. */
  close(): void {
    this.clear();
    this.budget.leave(this);
  }

  #release(batch: CachedBatch): void {
    this.#usedBytes -= batch.bytes.length;
    this.budget.change(-batch.bytes.length, this);
  }

  /** Index of the batch that holds `offset`. */
  #indexOf(offset: number): number | null {
    const [batches, first] = [this.#batches, this.#first];
    if (first === batches.length || offset < batches[first]!.baseOffset) return null;
    const length = batches.length - first;
    const index = first + lowerBound(length, (i) => batches[first + i]!.endOffset <= offset);
    return index === batches.length ? null : index;
  }
}

const EVICTED: CachedBatch = { baseOffset: -1, endOffset: -1, bytes: new Uint8Array(0) };
