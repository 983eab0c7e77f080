// Owns logs in memory, for tests and simulation: what a LogStore does, without a disk.
// Refuses to survive its process, and to bound itself: whoever uses it bounds what is appended.
// Invariant: what was flushed survives `crash`, what was not is lost; one open handle a log.
import { checkPathName, isBelow } from "../path_name.ts";
import type {
  AppendResult,
  Log,
  LogConfig,
  LogStore,
  ReadOptions,
  RetentionPolicy,
} from "../log.ts";
import type { Clock } from "../ports.ts";
import { type BatchEntry, BatchList, concatenate, describeBatches } from "./batch_list.ts";

/** What a log holds between two openings. */
interface StoredLog {
  readonly batches: BatchList<BatchEntry>;
  flushedOffset: number;
  handle: MemoryLog | null;
}

/** Logs in memory. The clock ages segments. */
export class MemoryLogStore implements LogStore {
  readonly #logs = new Map<string, StoredLog>();

  constructor(private readonly clock: Clock) {}

  // deno-lint-ignore require-await -- the port is asynchronous, and so are its errors
  async open(name: string, config: LogConfig): Promise<Log> {
    checkPathName(name);
    let stored = this.#logs.get(name);
    if (stored === undefined) {
      const { startOffset = 0 } = config;
      stored = { batches: new BatchList(startOffset), flushedOffset: startOffset, handle: null };
      this.#logs.set(name, stored);
    }
    if (stored.handle !== null) throw new Error(`log ${name} is open already`);
    stored.handle = new MemoryLog(stored, config, this.clock);
    return stored.handle;
  }

  // deno-lint-ignore require-await -- see open
  async remove(name: string): Promise<void> {
    checkPathName(name);
    const stored = this.#logs.get(name);
    if (stored === undefined) return;
    if (stored.handle !== null) throw new Error(`log ${name} is open: close it before removing it`);
    this.#logs.delete(name);
  }

  // deno-lint-ignore require-await -- see open
  async list(prefix: string): Promise<string[]> {
    return [...this.#logs.keys()].filter((name) => isBelow(prefix, name)).sort();
  }

  /** What a power cut does: open handles are dead, and what was not flushed is gone. */
  crash(): void {
    for (const stored of this.#logs.values()) {
      stored.handle?.abandon();
      stored.handle = null;
      stored.batches.dropAfter(stored.flushedOffset);
    }
  }
}

class MemoryLog implements Log {
  #appending = false;
  #closed = false;

  constructor(
    private readonly stored: StoredLog,
    private config: LogConfig,
    private readonly clock: Clock,
  ) {}

  get logStartOffset(): number {
    return this.stored.batches.startOffset;
  }

  get logEndOffset(): number {
    return this.stored.batches.endOffset;
  }

  get flushedOffset(): number {
    return this.stored.flushedOffset;
  }

  get sizeBytes(): number {
    return this.stored.batches.sizeBytes;
  }

  async append(batches: readonly Uint8Array[]): Promise<AppendResult> {
    this.#checkOpen();
    if (this.#appending) throw new Error("an append is under way: one at a time");
    const baseOffset = this.logEndOffset;
    const entries = describeBatches(batches, baseOffset);
    this.#appending = true;
    for (const entry of entries) {
      this.stored.batches.push(entry, this.config, this.clock.monotonic());
    }
    const logEndOffset = this.logEndOffset;
    // Durable a turn later, as on a disk: whoever reads meanwhile sees an end that is not flushed.
    await Promise.resolve();
    this.#appending = false;
    this.#checkOpen();
    if (this.config.durability === "fsync") this.#flush(logEndOffset);
    return { baseOffset, logEndOffset };
  }

  // deno-lint-ignore require-await -- the port is asynchronous, and so are its errors
  async read(offset: number, options: ReadOptions): Promise<Uint8Array> {
    this.#checkOpen();
    return concatenate(this.stored.batches.select(offset, options).map((entry) => entry.bytes));
  }

  // deno-lint-ignore require-await -- see read
  async offsetForTimestamp(timestampMs: number): Promise<number | null> {
    this.#checkOpen();
    return this.stored.batches.offsetForTimestamp(timestampMs);
  }

  endOffsetForEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number } {
    return this.stored.batches.endOffsetForEpoch(leaderEpoch);
  }

  // deno-lint-ignore require-await -- see read
  async applyRetention(policy: RetentionPolicy): Promise<number> {
    this.#checkOpen();
    const { batches } = this.stored;
    batches.dropOldest(batches.droppable(policy));
    this.stored.flushedOffset = Math.max(this.stored.flushedOffset, batches.startOffset);
    return batches.startOffset;
  }

  // deno-lint-ignore require-await -- see read
  async truncateTo(offset: number): Promise<void> {
    this.#checkOpen();
    this.stored.batches.dropAfter(offset);
    this.stored.flushedOffset = Math.min(this.stored.flushedOffset, this.logEndOffset);
  }

  // deno-lint-ignore require-await -- see read
  async configure(config: LogConfig): Promise<void> {
    this.#checkOpen();
    this.config = config;
  }

  // deno-lint-ignore require-await -- see read
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#flush(this.logEndOffset);
    this.abandon();
    this.stored.handle = null;
  }

  /** From now on every call is refused; nothing is flushed. */
  abandon(): void {
    this.#closed = true;
  }

  #flush(upTo: number): void {
    const end = Math.min(upTo, this.logEndOffset);
    this.stored.flushedOffset = Math.max(this.stored.flushedOffset, end);
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error("the log is closed");
  }
}
