// Owns one partition: the single writer of its log, its high watermark and the readers that wait for it.
// Refuses to own decisions (decide.ts) and how bytes are kept (the Log port).
// Invariant: nothing is acknowledged, and nothing shown to a reader, before the log says it is flushed. When an append
// has an unknown outcome the log is closed and recovered before it is used again.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import { setBaseOffset, setLeaderEpoch } from "../../storage/format/record_batch.ts";
import type {
  AbortedTransaction,
  CompactionPolicy,
  Log,
  LogConfig,
  LogStore,
  RetentionPolicy,
} from "../../storage/log.ts";
import type { Clock, Crc32c, Timers } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type {
  AppendReceipt,
  FetchOptions,
  FetchResult,
  PartitionInfo,
  WaitOptions,
} from "../broker.ts";
import { GroupCommit } from "../runtime/group_commit.ts";
import type { ByteBudget } from "./byte_budget.ts";
import {
  type AppendDecision,
  checkFetchOffset,
  evolvePartition,
  openedPartition,
  type PartitionState,
} from "./decide.ts";
import { type AppendItem, decideWrite } from "./decided_write.ts";
import type { LeaderEpochs } from "./leader_epochs.ts";
import type { ProducerCensus } from "./producer_census.ts";
import { PartitionProducers } from "./partition_producers.ts";
import type { MarkerCommand } from "./producer_state.ts";
import { ProducerDraft } from "./producer_table.ts";
import { Waiters } from "./waiters.ts";

/** Appends that may wait in one partition's mailbox. */
const MAX_PENDING_APPENDS = 20_000;
/** Bytes that go to the log in one write and sync, unless one append alone has more. */
const MAX_WRITE_BYTES = 1_048_576;
/** Wait before a log whose disk failed is opened again: doubles from the first to the last. */
const REOPEN_FIRST_MS = 200;
const REOPEN_LAST_MS = 30_000;
/** What a marker counts as among the bytes that wait for the disk. */
const MARKER_BYTES = 128;

export interface PartitionOptions {
  /** Topic name and number, for messages. */
  readonly name: string;
  readonly partition: number;
  readonly logName: string;
  readonly nodeId: string;
  readonly logs: LogStore;
  readonly logConfig: LogConfig;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly budget: ByteBudget;
  readonly epochs: LeaderEpochs;
  readonly census: ProducerCensus;
  readonly snapshots: SnapshotStore;
  readonly crc32c: Crc32c;
  report(event: { level: "info" | "warning" | "error"; message: string; error?: unknown }): void;
}

export class Partition {
  private log: Log | null = null;
  private state: PartitionState | null = null;
  private failure: BrokerError | null = null;
  private closing = false;
  private reopenMs = REOPEN_FIRST_MS;
  private cancelReopen: (() => void) | null = null;
  private reopening: Promise<void> = Promise.resolve();
  private logConfig: LogConfig;
  private readonly waiters: Waiters;
  private readonly appends: GroupCommit<AppendItem, AppendReceipt>;
  private readonly listeners = new Set<(highWatermark: number) => void>();
  private readonly producers: PartitionProducers;
  /** Wait for the last stable offset rather than the high watermark. */
  private readonly stableWaiters: Waiters;

  private constructor(private readonly options: PartitionOptions) {
    this.logConfig = options.logConfig;
    this.producers = new PartitionProducers(options);
    this.waiters = new Waiters(options.timers);
    this.stableWaiters = new Waiters(options.timers);
    this.appends = new GroupCommit<AppendItem, AppendReceipt>({
      name: `partition/${options.name}`,
      maxWaiting: MAX_PENDING_APPENDS,
      // Bytes are bounded over all partitions by the budget.
      maxWaitingBytes: Number.MAX_SAFE_INTEGER,
      maxDrain: MAX_PENDING_APPENDS,
      maxDrainBytes: MAX_WRITE_BYTES,
      run: (items) => this.write(items),
    });
  }

  /** Opens the partition; one whose log cannot be opened is offline, says why, and does not stop the others. */
  static async open(options: PartitionOptions): Promise<Partition> {
    const partition = new Partition(options);
    await partition.openLog();
    return partition;
  }

  /**
   * Appends checked batches in one piece. The bytes are given away: offsets are written into them.
   * Resolves when durable as the topic asks; with acks "none" as soon as the offsets are known.
   */
  async append(
    batches: readonly Uint8Array[],
    options: { acks: "all" | "leader" | "none"; leaderEpoch?: number },
  ): Promise<AppendReceipt> {
    const state = this.online().state;
    this.refuseDamaged();
    let bytes = 0;
    for (const batch of batches) bytes += batch.length;
    this.options.budget.take(bytes);
    const leaderEpoch = options.leaderEpoch ?? state.leaderEpoch;
    if (options.acks !== "none") {
      return await this.settled({ batches, leaderEpoch, onAssigned: null }, bytes);
    }
    const assigned = Promise.withResolvers<AppendReceipt>();
    const onAssigned = assigned.resolve;
    return await Promise.race([
      assigned.promise,
      this.settled({ batches, leaderEpoch, onAssigned }, bytes),
    ]);
  }

  /**
   * Ends a producer's transaction here; resolves when that is durable, with the marker's offset, or null where it had been
   * ended before. STALE_EPOCH for a coordinator that has been replaced.
   */
  async writeMarker(marker: MarkerCommand): Promise<number | null> {
    const { leaderEpoch } = this.online().state;
    this.refuseDamaged();
    this.options.budget.take(MARKER_BYTES);
    const item = { batches: [], leaderEpoch, marker, onAssigned: null };
    const { baseOffsets } = await this.settled(item, MARKER_BYTES);
    return baseOffsets[0] ?? null;
  }

  /** The sequence that must come next of this producer and epoch. */
  nextSequence(producer: { producerId: number; producerEpoch: number }): number {
    this.online();
    const entry = this.producers.get(producer.producerId);
    return entry?.epoch === producer.producerEpoch ? entry.nextSequence : 0;
  }

  private async settled(item: AppendItem, bytes: number): Promise<AppendReceipt> {
    try {
      return await this.appends.submit(item, bytes);
    } finally {
      this.options.budget.give(bytes);
    }
  }

  /** Whole batches from `offset` to the last stable offset at most, or to the high watermark: see FetchOptions. */
  async fetch(offset: number, options: FetchOptions): Promise<FetchResult> {
    const { log, state } = this.online();
    checkFetchOffset(state, offset);
    const { highWatermark, logStartOffset } = state;
    const lastStableOffset = this.producers.lastStableOffset(highWatermark);
    const committed = options.isolation === "read_committed";
    const endOffset = committed ? lastStableOffset : highWatermark;
    const batches = offset >= endOffset
      ? new Uint8Array(0)
      : await log.read(offset, { endOffset, maxBytes: options.maxBytes });
    // What was aborted while the log was being read lies at or above `endOffset`; but it must not be forgotten by now.
    if (committed) this.checkStill(log, offset);
    const aborted = committed ? this.producers.abortedIn(batches, offset, endOffset) : [];
    return {
      batches,
      highWatermark,
      lastStableOffset,
      logStartOffset,
      ...(aborted.length > 0 ? { aborted } : {}),
    };
  }

  /** What is known of transactions is that of `log`, and reaches down to `offset`. */
  private checkStill(log: Log, offset: number): void {
    const now = this.serving();
    if (now.log !== log) {
      throw new BrokerError("LEADER_NOT_AVAILABLE", `${this.options.name} was recovered meanwhile`);
    }
    checkFetchOffset(now.state, offset);
  }

  /** Resolves when something above `offset` can be read, after `timeoutMs`, or when aborted. */
  waitForData(offset: number, options: WaitOptions): Promise<void> {
    const { state } = this.online();
    const committed = options.isolation === "read_committed";
    if (this.readableEnd(state, committed) > offset) return Promise.resolve();
    return (committed ? this.stableWaiters : this.waiters).wait(offset, options);
  }

  private readableEnd({ highWatermark }: PartitionState, committed: boolean): number {
    return committed ? this.producers.lastStableOffset(highWatermark) : highWatermark;
  }

  /** Aborted transactions below the last stable offset, and that offset: what compaction must know. */
  stable(): { lastStableOffset: number; aborted: readonly AbortedTransaction[] } {
    const { state } = this.online();
    const lastStableOffset = this.producers.lastStableOffset(state.highWatermark);
    const aborted = this.producers.abortedWithin(state.logStartOffset, lastStableOffset);
    return { lastStableOffset, aborted };
  }

  /** Lets go of producers that were idle for too long. */
  sweep(): void {
    if (this.state !== null) this.producers.sweep(this.state.logStartOffset);
  }

  /** Answers all who wait for data now. */
  wakeAll(): void {
    this.waiters.wakeAll();
    this.stableWaiters.wakeAll();
  }

  /** Hears every rise of the high watermark. */
  onAdvance(listener: (highWatermark: number) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async offsetForTime(timestampMs: number): Promise<number> {
    const { log, state } = this.online();
    const offset = await log.offsetForTimestamp(timestampMs);
    return offset === null ? state.highWatermark : Math.min(offset, state.highWatermark);
  }

  /** Offsets that can be read, end exclusive. Throws when the partition does not serve. */
  readable(): { startOffset: number; endOffset: number } {
    const { state } = this.online();
    return { startOffset: state.logStartOffset, endOffset: state.highWatermark };
  }

  /** See Log. */
  get missesArchive(): boolean {
    return this.log?.missesArchive === true;
  }

  info(): PartitionInfo {
    this.noteLogStart();
    const { partition, nodeId } = this.options;
    const { state, log } = this;
    const failure = this.failure ?? this.damage();
    const online = state !== null && log !== null && failure === null;
    return {
      partition,
      leader: online ? nodeId : null,
      isr: online ? [nodeId] : [],
      leaderEpoch: state?.leaderEpoch ?? -1,
      logStartOffset: state?.logStartOffset ?? 0,
      logEndOffset: state?.logEndOffset ?? 0,
      highWatermark: state?.highWatermark ?? 0,
      lastStableOffset: this.producers.lastStableOffset(state?.highWatermark ?? 0),
      sizeBytes: log?.sizeBytes ?? 0,
      ...(log?.archivedBytes === undefined ? {} : { archivedBytes: log.archivedBytes }),
      state: online ? "online" : "offline",
      ...(failure === null ? {} : { error: failure.message }),
    };
  }

  /** `keepFrom`: nothing from there on is dropped; default: nothing that is not readable. */
  async applyRetention(
    policy: Omit<RetentionPolicy, "keepFrom"> & { readonly keepFrom?: number },
  ): Promise<void> {
    const { log, state } = this.online();
    // A transaction that is open may yet be committed as a whole.
    const stable = this.producers.lastStableOffset(state.highWatermark);
    const keepFrom = Math.min(policy.keepFrom ?? Infinity, stable);
    const droppable = await log.droppableOffset?.({ ...policy, keepFrom }) ?? keepFrom;
    if (log !== this.log) return;
    const dropTo = await this.producers.keepBelow(droppable, () => this.state!.logEndOffset);
    await log.applyRetention({ ...policy, keepFrom: Math.min(keepFrom, dropTo) });
    this.noteLogStart();
  }

  /** Takes away what newer records of the same keys replace, below the last stable offset. */
  async compact(policy: Omit<CompactionPolicy, "keepFrom" | "aborted">): Promise<void> {
    const { log, state } = this.online();
    const keepFrom = this.producers.lastStableOffset(state.highWatermark);
    const aborted = this.producers.abortedWithin(state.logStartOffset, keepFrom);
    try {
      await log.compact?.({ ...policy, keepFrom, aborted });
    } catch (error) {
      // What is on disk and what the log knows of it may differ now, for readers too.
      const fault = log.fault ?? null;
      if (fault?.code === "STORAGE_FAILED" && log === this.log) this.recoverFrom(fault);
      throw error;
    }
  }

  /** The log raises its start before it has removed what lies below: nobody may be sent there meanwhile. */
  private noteLogStart(): void {
    const { log, state } = this;
    if (log === null || state === null || log.logStartOffset <= state.logStartOffset) return;
    const { logStartOffset } = log;
    this.state = evolvePartition(state, { type: "LogStartRaised", logStartOffset });
  }

  async configure(logConfig: LogConfig): Promise<void> {
    this.logConfig = logConfig;
    const { log } = this;
    if (log === null) return;
    await log.configure(logConfig);
    if (log === this.log) this.advance(log, this.state!);
  }

  /** Refuses new appends, finishes the accepted ones, closes the log cleanly. */
  async close(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    this.cancelReopen?.();
    await this.appends.finish(this.closed());
    this.wakeAll();
    // An opening under way must not leave a log open behind whoever removes its data next.
    await this.reopening;
    const { log } = this;
    this.log = null;
    try {
      await log?.close();
      if (log !== null && this.damage(log) === null) await this.producers.close(log.logEndOffset);
    } finally {
      await this.producers.clear();
    }
  }

  private online(): { log: Log; state: PartitionState } {
    if (this.closing) throw this.closed();
    return this.serving();
  }

  /** A log that was found corrupt is open, for reading what lies before the damage. */
  private damage(log = this.log): BrokerError | null {
    const fault = log?.fault ?? null;
    return fault?.code === "CORRUPT_LOG" ? fault : null;
  }

  private refuseDamaged(): void {
    const damage = this.damage();
    if (damage !== null) throw damage;
  }

  private closed(): BrokerError {
    return new BrokerError("SHUTTING_DOWN", `${this.options.name} is closing`);
  }

  /** Accepted appends are still written while the partition closes. */
  private serving(): { log: Log; state: PartitionState } {
    if (this.failure !== null) throw this.failure;
    this.noteLogStart();
    if (this.log === null || this.state === null) {
      throw new BrokerError("LEADER_NOT_AVAILABLE", `${this.options.name} is opening`);
    }
    return { log: this.log, state: this.state };
  }

  private async write(items: readonly AppendItem[]): Promise<(AppendReceipt | BrokerError)[]> {
    this.refuseDamaged();
    const { log, state } = this.serving();
    const batches: Uint8Array[] = [];
    const { producers } = this;
    const draft = new ProducerDraft(producers);
    const deciding = { ...this.options, producers, draft };
    let working = state;
    const outcomes = items.map((item) => {
      try {
        const { decision, written } = decideWrite(working, item, deciding);
        for (const event of decision.events) working = evolvePartition(working, event);
        for (const event of decision.producerEvents) draft.apply(event);
        written.forEach((batch, index) => {
          if (decision.duplicates[index]) return;
          setBaseOffset(batch, 0, decision.baseOffsets[index]!);
          setLeaderEpoch(batch, 0, working.leaderEpoch);
          batches.push(batch);
        });
        item.onAssigned?.(this.receipt(decision, "none"));
        return decision;
      } catch (error) {
        const refusal = asBrokerError(error);
        this.options.census.refused(refusal.code);
        return refusal;
      }
    });
    if (batches.length > 0) await this.flush(log, { working, draft }, batches);
    return outcomes.map((outcome) =>
      outcome instanceof BrokerError ? outcome : this.receipt(outcome, this.logConfig.durability)
    );
  }

  private async flush(
    log: Log,
    { working, draft }: { working: PartitionState; draft: ProducerDraft },
    batches: Uint8Array[],
  ): Promise<void> {
    try {
      await log.append(batches);
    } catch (error) {
      const failure = asBrokerError(error);
      if (failure.code !== "DISK_FULL" && log === this.log) this.recoverFrom(failure);
      throw failure;
    }
    let bytes = 0;
    for (const batch of batches) bytes += batch.length;
    this.producers.commit(draft.events, { bytes, logEndOffset: working.logEndOffset });
    // Retention may have raised the log start while the write was under way.
    this.advance(log, { ...working, logStartOffset: this.state!.logStartOffset });
    this.reopenMs = REOPEN_FIRST_MS;
  }

  /** Shows readers what the log now holds as durably as the topic asks: to the disk, or to the operating system. */
  private advance(log: Log, working: PartitionState): void {
    const flushedOffset = this.logConfig.durability === "os" ? log.logEndOffset : log.flushedOffset;
    const { nodeId } = this.options;
    this.state = evolvePartition(working, { type: "ReplicaFlushed", nodeId, flushedOffset });
    const { highWatermark } = this.state;
    this.waiters.advance(highWatermark);
    this.stableWaiters.advance(this.producers.lastStableOffset(highWatermark));
    for (const listener of this.listeners) listener(highWatermark);
  }

  private receipt(
    { baseOffsets, duplicates }: Pick<AppendDecision, "baseOffsets" | "duplicates">,
    durability: AppendReceipt["durability"],
  ): AppendReceipt {
    return {
      baseOffsets,
      duplicates,
      highWatermark: this.state!.highWatermark,
      durability,
      inSyncReplicas: this.state!.flushedOffsets.size,
    };
  }

  /** The outcome on disk is unknown: nothing of the state in memory is trusted any more. */
  private recoverFrom(failure: BrokerError): void {
    const { name, report, timers } = this.options;
    report({
      level: "error",
      message: `${name} is offline until its log is recovered: ${failure.message}`,
      error: failure,
    });
    this.failure = failure;
    const { log } = this;
    this.log = null;
    if (log !== null) this.reopening = log.close().catch(() => undefined);
    if (this.closing) return;
    this.cancelReopen = timers.after(this.reopenMs, () => {
      this.reopening = this.reopening.then(() => this.openLog());
    });
    this.reopenMs = Math.min(this.reopenMs * 2, REOPEN_LAST_MS);
  }

  private async openLog(): Promise<void> {
    const { name, logName, logs, nodeId, epochs } = this.options;
    if (this.closing) return;
    try {
      // The broker's start has raised the epoch; opening again within one run must do so itself.
      const leaderEpoch = this.state === null ? epochs.current : await epochs.raise();
      const log = await logs.open(logName, this.logConfig);
      await this.refuseLoss(log);
      await this.producers.open(log);
      this.state = openedPartition({
        name,
        nodeId,
        leaderEpoch,
        logStartOffset: log.logStartOffset,
        flushedOffset: log.flushedOffset,
      });
      this.log = log;
      this.failure = null;
      const error = this.damage();
      if (error !== null) {
        const message = `${name} is offline: it takes no appends and serves what lies before`;
        this.options.report({ level: "error", message, error });
      }
      const { highWatermark } = this.state;
      this.waiters.advance(highWatermark);
      this.stableWaiters.advance(this.producers.lastStableOffset(highWatermark));
    } catch (error) {
      const failure = asBrokerError(error);
      if (failure.code === "CORRUPT_LOG" || failure.code === "INTERNAL") {
        // Opening again finds the same bytes: this needs an operator.
        this.failure = failure;
        this.options.report({ level: "error", message: `${name} stays offline`, error: failure });
      } else this.recoverFrom(failure);
    }
  }
  /** What readers were shown must still be there, unless the topic takes such losses for speed. */
  private async refuseLoss(log: Log): Promise<void> {
    const shown = this.state?.highWatermark ?? 0;
    const { name, report } = this.options;
    if (log.flushedOffset >= shown) return;
    const message =
      `${name} ends at ${log.flushedOffset} after recovery, but ${shown} was acknowledged`;
    if (this.logConfig.durability === "os") return report({ level: "error", message });
    await log.close();
    throw new BrokerError("CORRUPT_LOG", message);
  }
}
