// Owns logs that keep the promises of a log over a disk that crashes, is slow, and fails to sync, and no promise more.
// Refuses to own files: that storage/file_log/ keeps these promises is shown by one broker on a simulated disk (../).
// Invariant: what an append that resolved has stored survives everything but a wipe; of what is under way, a power cut
// leaves some batches from the front, and so does opening a log again after a failed sync.
import { BrokerError } from "../../../storage/broker_error.ts";
import type {
  AppendResult,
  Log,
  LogConfig,
  LogStore,
  ReadOptions,
  RetentionPolicy,
} from "../../../storage/log.ts";
import {
  type BatchEntry,
  BatchList,
  concatenate,
  describeBatches,
} from "../../../storage/memory/batch_list.ts";
import type { RunWorld } from "../world.ts";
import type { NodeLife } from "./node_life.ts";

/** What the world does to a disk right now; lives as long as the machine. */
export interface LogConditions {
  /** Syncs of logs whose name matches take this long. */
  slowSync: { readonly path: RegExp; readonly ms: number } | null;
  /** Syncs that fail from now on. */
  failingSyncs: number;
}

interface StoredLog {
  readonly batches: BatchList<BatchEntry>;
  flushedOffset: number;
  /** Of the process that has it open. */
  handle: SimulatedLog | null;
  /** A sync has failed: nobody knows what is on disk until it is opened again. */
  isDoubtful: boolean;
}

/** The logs of one machine; they outlive its processes. */
export class SimulatedLogs {
  readonly #logs = new Map<string, StoredLog>();
  /** Hears of each log of which what lay at or after `offset` is gone. */
  onCut: (name: string, offset: number) => void = () => undefined;
  /** Hears that everything is gone. */
  onWiped: () => void = () => undefined;

  constructor(readonly world: RunWorld, readonly conditions: LogConditions) {}

  /** The logs as one process has them. */
  session(life: NodeLife): LogStore {
    return {
      open: (name, config) => life.port(this.delayMs(), () => this.#open(life, name, config)),
      remove: (name) => life.port(this.delayMs(), () => this.#remove(name)),
      list: (prefix) =>
        Promise.resolve([...this.#logs.keys()].filter((name) => isIn(prefix, name))),
    };
  }

  /** The process has ended: the operating system still has what it wrote. */
  killProcess(): void {
    for (const stored of this.#logs.values()) stored.handle = null;
  }

  /** Of what was not synced, some is on disk. */
  cutPower(): void {
    for (const [name, stored] of this.#logs) {
      stored.handle = null;
      this.#loseSome(name, stored);
    }
  }

  /** The disk is replaced by an empty one. */
  wipe(): void {
    this.#logs.clear();
    this.onWiped();
  }

  /** What the disk and its cache hold now; null when there is no such log. */
  stored(name: string): Pick<StoredLog, "batches" | "flushedOffset"> | null {
    return this.#logs.get(name) ?? null;
  }

  delayMs(): number {
    return this.world.between(0, this.world.plan.maxDiskMs);
  }

  syncMs(name: string): number {
    const { slowSync } = this.conditions;
    if (slowSync?.path.test(name)) return slowSync.ms;
    return this.world.between(0, this.world.plan.maxSyncMs);
  }

  // deno-lint-ignore require-await -- the port is asynchronous, and so are its errors
  async #open(life: NodeLife, name: string, config: LogConfig): Promise<Log> {
    let stored = this.#logs.get(name);
    if (stored === undefined) {
      const start = config.startOffset ?? 0;
      const batches = new BatchList<BatchEntry>(start);
      stored = { batches, flushedOffset: start, handle: null, isDoubtful: false };
      this.#logs.set(name, stored);
    }
    if (stored.handle !== null) throw new Error(`log ${name} is open already`);
    if (stored.isDoubtful) this.#loseSome(name, stored);
    stored.isDoubtful = false;
    // Whoever opens a log syncs what it finds before it says that it is there.
    stored.flushedOffset = stored.batches.endOffset;
    stored.handle = new SimulatedLog(this, stored, { life, name, config });
    return stored.handle;
  }

  // deno-lint-ignore require-await -- see open
  async #remove(name: string): Promise<void> {
    const stored = this.#logs.get(name);
    if (stored === undefined) return;
    if (stored.handle !== null) throw new Error(`log ${name} is open: close it before removing it`);
    this.#logs.delete(name);
  }

  #loseSome(name: string, stored: StoredLog): void {
    const unsynced = stored.batches.select(stored.flushedOffset, {
      endOffset: Infinity,
      maxBytes: Infinity,
    });
    const kept = this.world.chance.integer(unsynced.length + 1);
    if (kept === unsynced.length) return;
    stored.batches.dropAfter(unsynced[kept]!.baseOffset);
    this.onCut(name, stored.batches.endOffset);
    this.world.note("disk", `loses ${unsynced.length - kept} batches that were not synced`);
  }
}

interface Opened {
  readonly life: NodeLife;
  readonly name: string;
  config: LogConfig;
}

class SimulatedLog implements Log {
  #isAppending = false;
  #isClosed = false;

  constructor(
    private readonly logs: SimulatedLogs,
    private readonly stored: StoredLog,
    private readonly opened: Opened,
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
    this.#checkUsable();
    if (this.#isAppending) throw new Error("an append is under way: one at a time");
    const { life, name, config } = this.opened;
    const baseOffset = this.logEndOffset;
    for (const entry of describeBatches(batches, baseOffset)) {
      this.stored.batches.push(entry, config, life.monotonic());
    }
    const logEndOffset = this.logEndOffset;
    this.#isAppending = true;
    try {
      if (config.durability === "fsync") {
        await life.port(this.logs.syncMs(name), () => this.#sync(logEndOffset));
      }
    } finally {
      this.#isAppending = false;
    }
    return { baseOffset, logEndOffset };
  }

  // deno-lint-ignore require-await -- the port is asynchronous, and so are its errors
  async read(offset: number, options: ReadOptions): Promise<Uint8Array> {
    this.#checkOpen();
    return concatenate(this.stored.batches.select(offset, options).map(({ bytes }) => bytes));
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
    this.#checkUsable();
    const { batches } = this.stored;
    batches.dropOldest(batches.droppable(policy));
    this.stored.flushedOffset = Math.max(this.stored.flushedOffset, batches.startOffset);
    return batches.startOffset;
  }

  async truncateTo(offset: number): Promise<void> {
    this.#checkUsable();
    const { life, name } = this.opened;
    // deno-lint-ignore require-await -- see read
    await life.port(this.logs.syncMs(name), async () => {
      this.#checkUsable();
      const dropped = this.stored.batches.dropAfter(offset);
      this.stored.flushedOffset = Math.min(this.stored.flushedOffset, this.logEndOffset);
      if (dropped.length === 0) return;
      this.logs.world.note("log", `${name} is cut to ${this.logEndOffset}`);
      this.logs.onCut(name, this.logEndOffset);
    });
  }

  // deno-lint-ignore require-await -- see read
  async configure(config: LogConfig): Promise<void> {
    this.#checkOpen();
    this.opened.config = config;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { life, name } = this.opened;
    // deno-lint-ignore require-await -- see read
    await life.port(this.logs.syncMs(name), async () => {
      if (!this.stored.isDoubtful) this.stored.flushedOffset = this.logEndOffset;
      this.stored.handle = null;
    });
  }

  // deno-lint-ignore require-await -- see read
  async #sync(upTo: number): Promise<void> {
    const { name } = this.opened;
    const { conditions, world } = this.logs;
    this.#checkUsable();
    if (conditions.failingSyncs > 0) {
      conditions.failingSyncs--;
      this.stored.isDoubtful = true;
      world.note("disk", `sync of ${name} fails`);
      throw new BrokerError("STORAGE_FAILED", `the disk failed to sync log ${name}`);
    }
    const end = Math.min(upTo, this.logEndOffset);
    this.stored.flushedOffset = Math.max(this.stored.flushedOffset, end);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new BrokerError("SHUTTING_DOWN", `log ${this.opened.name} is closed`);
  }

  #checkUsable(): void {
    this.#checkOpen();
    if (!this.stored.isDoubtful) return;
    throw new BrokerError("STORAGE_FAILED", `log ${this.opened.name} must be opened again`);
  }
}

function isIn(prefix: string, name: string): boolean {
  return name.startsWith(`${prefix}/`);
}
