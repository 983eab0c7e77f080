// Owns one partition as others see it: its appends, readers, upkeep and closing, each handed to whoever does it.
// Refuses to own decisions (decide.ts), writing (partition_writer.ts) and the log's life (replica_log.ts).
// Invariant: nothing is shown to a reader before the log says it is flushed, and nothing of a log other than the one that
// was asked.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type {
  AbortedTransaction,
  CompactionPolicy,
  Log,
  LogConfig,
  RetentionPolicy,
} from "../../storage/log.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type {
  AppendReceipt,
  FetchOptions,
  FetchResult,
  PartitionInfo,
  WaitOptions,
} from "../broker.ts";
import type { PartitionActivity } from "../measurement/types.ts";
import { CorruptRead } from "./corrupt_read.ts";
import { checkFetchOffset } from "./decide.ts";
import type { LeaderEpochs } from "./leader_epochs.ts";
import { KeyFence } from "./key_fence.ts";
import { ReplicaLog, type ReplicaLogOptions } from "./replica_log.ts";
import { PartitionProducers } from "./partition_producers.ts";
import { PartitionReaders } from "./partition_readers.ts";
import {
  type PartitionAppendOptions,
  PartitionWriter,
  type PartitionWriterOptions,
} from "./partition_writer.ts";
import type { MarkerCommand } from "./producer_state.ts";
import { Replica, type ReplicaOptions } from "./replica.ts";
import { ownTerms } from "./terms.ts";
import type { KeysTerm, OffsetRange } from "./types.ts";

export interface PartitionOptions extends Omit<ReplicaLogOptions, "terms">, PartitionWriterOptions {
  readonly partition: number;
  /** Of a broker alone. */
  readonly epochs: LeaderEpochs;
  /** Of a broker in a cluster: roles come from there, instead of from `epochs`. */
  readonly replica?: Omit<
    ReplicaOptions,
    "name" | "nodeId" | "partition" | "clock" | "crc32c" | "report"
  >;
  readonly snapshots: SnapshotStore;
}

export class Partition {
  private readonly producers: PartitionProducers;
  private readonly readers: PartitionReaders;
  private readonly held: ReplicaLog;
  private readonly writer: PartitionWriter;
  private readonly replica: Replica | null;
  private readonly corruptRead = new CorruptRead();
  private closing = false;

  private constructor(private readonly options: PartitionOptions) {
    this.producers = new PartitionProducers(options);
    const { producers } = this;
    this.readers = new PartitionReaders(options.timers, producers);
    this.replica = options.replica === undefined
      ? null
      : new Replica({ ...options, ...options.replica });
    const terms = this.replica?.replication ?? ownTerms(options.nodeId, options.epochs);
    this.held = new ReplicaLog({ ...options, terms }, { producers, readers: this.readers });
    const view = options.replica?.ports.view;
    const fence = new KeyFence({
      name: options.name,
      homeEpoch: (topicId) => view?.partition(topicId, 0)?.record.leaderEpoch ?? -1,
    });
    this.writer = new PartitionWriter(options, { held: this.held, producers, fence });
  }

  /** Opens the partition; one whose log cannot be opened is offline, says why, and does not stop the others. */
  static async open(options: PartitionOptions): Promise<Partition> {
    const partition = new Partition(options);
    const { held, replica, producers } = partition;
    if (replica === null) await held.open();
    else await replica.start(held, producers);
    return partition;
  }

  /**
   * Appends checked batches in one piece. The bytes are given away: offsets are written into them.
   * Resolves when durable as the topic asks; with acks "none" as soon as the offsets are known.
   */
  append(
    batches: readonly Uint8Array[],
    options: PartitionAppendOptions,
  ): Promise<AppendReceipt> {
    return this.writer.append(batches, options);
  }

  /**
   * Lets nothing of older homes of the same keys be appended any more (see KeyFence); resolves when all that was appended
   * before can be read, to where that lies. STALE_EPOCH for a home that is over itself, LEADER_NOT_AVAILABLE.
   */
  fenceKeys(term: KeysTerm): Promise<OffsetRange> {
    return this.writer.fenceKeys(term);
  }

  /**
   * Ends a producer's transaction here; resolves when that is durable, with the marker's offset, or null where it had been
   * ended before. STALE_EPOCH for a coordinator that has been replaced.
   */
  writeMarker(marker: MarkerCommand): Promise<number | null> {
    return this.writer.writeMarker(marker);
  }

  /** The sequence that must come next of this producer and epoch. */
  nextSequence(producer: { producerId: number; producerEpoch: number }): number {
    this.held.online();
    const entry = this.producers.get(producer.producerId);
    return entry?.epoch === producer.producerEpoch ? entry.nextSequence : 0;
  }

  /** Whole batches from `offset` to the last stable offset at most, or to the high watermark: see FetchOptions. */
  async fetch(offset: number, options: FetchOptions): Promise<FetchResult> {
    const { fromReplica = false } = options;
    const { log, state } = fromReplica ? this.held.held() : this.held.online();
    checkFetchOffset(state, offset);
    const { highWatermark, logStartOffset } = state;
    const lastStableOffset = this.producers.lastStableOffset(highWatermark);
    const committed = options.isolation === "read_committed";
    const endOffset = committed ? lastStableOffset : highWatermark;
    const batches = offset >= endOffset
      ? new Uint8Array(0)
      : await this.read(log, offset, { ...options, endOffset });
    // What was aborted while the log was being read lies at or above `endOffset`; but it must not be forgotten by now.
    if (committed) this.checkStill(log, { offset, fromReplica });
    const aborted = committed ? this.producers.abortedIn(batches, offset, endOffset) : [];
    return {
      batches,
      highWatermark,
      lastStableOffset,
      logStartOffset,
      ...(aborted.length > 0 ? { aborted } : {}),
    };
  }

  /** A log that turns out to be corrupt is remembered, and told of once. */
  private async read(
    log: Log,
    offset: number,
    options: Parameters<Log["read"]>[1],
  ): Promise<Uint8Array> {
    try {
      const batches = await log.read(offset, options);
      this.corruptRead.succeeded(offset);
      return batches;
    } catch (error) {
      const isCorrupt = error instanceof BrokerError && error.code === "CORRUPT_LOG";
      if (isCorrupt && this.corruptRead.failed(log, offset, error)) {
        const message = `${this.options.name} cannot be read at offset ${offset}`;
        this.options.report({ level: "error", message, error });
      }
      throw error;
    }
  }

  /** What is known of transactions is that of `log`, and reaches down to `offset`. */
  private checkStill(
    log: Log,
    { offset, fromReplica }: { readonly offset: number; readonly fromReplica: boolean },
  ): void {
    const now = fromReplica ? this.held.held() : this.held.serving();
    if (now.log !== log) {
      throw new BrokerError("LEADER_NOT_AVAILABLE", `${this.options.name} was recovered meanwhile`);
    }
    checkFetchOffset(now.state, offset);
  }

  /** Resolves when something above `offset` can be read, after `timeoutMs`, or when aborted. */
  waitForData(offset: number, options: WaitOptions): Promise<void> {
    return this.readers.wait(this.held.online().state, offset, options);
  }

  /** Aborted transactions below the last stable offset, and that offset: what compaction must know. */
  stable(): { lastStableOffset: number; aborted: readonly AbortedTransaction[] } {
    const { state } = this.held.online();
    const lastStableOffset = this.producers.lastStableOffset(state.highWatermark);
    const aborted = this.producers.abortedWithin(state.logStartOffset, lastStableOffset);
    return { lastStableOffset, aborted };
  }

  /** Lets go of producers that were idle for too long. */
  sweep(): void {
    const { state } = this.held;
    if (state !== null) this.producers.sweep(state.logStartOffset);
  }

  /** Answers all who wait for data now. */
  wakeAll(): void {
    this.readers.wakeAll();
  }

  /** Hears every rise of the high watermark. */
  onAdvance(listener: (highWatermark: number) => void): () => void {
    return this.readers.onAdvance(listener);
  }

  async offsetForTime(timestampMs: number): Promise<number> {
    const { log, state } = this.held.online();
    const offset = await log.offsetForTimestamp(timestampMs);
    return offset === null ? state.highWatermark : Math.min(offset, state.highWatermark);
  }

  /** Offsets that can be read, end exclusive. Throws when the partition does not serve. */
  readable(): { startOffset: number; endOffset: number } {
    const { state } = this.held.online();
    return { startOffset: state.logStartOffset, endOffset: state.highWatermark };
  }

  /** See Log. */
  get missesArchive(): boolean {
    return this.held.log?.missesArchive === true;
  }

  /** Where a read of what is open found it corrupt, and why; null while none has. */
  get unreadable(): { readonly offset: number; readonly message: string } | null {
    return this.corruptRead.at(this.held.log);
  }

  /** Serves, and takes appends; or does so elsewhere, where this broker holds nothing of it. */
  get isOnline(): boolean {
    if (this.replica?.isPresent === false) return true;
    const { state, log, fault } = this.held;
    return state !== null && log !== null && fault === null;
  }

  /** Opens its log now where that is offline. Resolves to why it does not serve then; null: it does. */
  async revive(): Promise<BrokerError | null> {
    await this.held.reopen();
    if (this.isOnline) return null;
    const { options: { name }, held: { fault } } = this;
    return fault ?? new BrokerError("LEADER_NOT_AVAILABLE", `${name} is opening`);
  }

  info(): PartitionInfo {
    this.held.noteLogStart();
    const { partition } = this.options;
    const { state, log, fault } = this.held;
    const online = this.isOnline;
    return {
      partition,
      ...this.leadership(online),
      leaderEpoch: state?.leaderEpoch ?? -1,
      logStartOffset: state?.logStartOffset ?? 0,
      logEndOffset: state?.logEndOffset ?? 0,
      highWatermark: state?.highWatermark ?? 0,
      lastStableOffset: this.producers.lastStableOffset(state?.highWatermark ?? 0),
      sizeBytes: log?.sizeBytes ?? 0,
      ...(log?.archivedBytes === undefined ? {} : { archivedBytes: log.archivedBytes }),
      state: online ? "online" : "offline",
      ...(fault === null ? {} : { error: fault.message }),
    };
  }

  private leadership(online: boolean): { leader: string | null; isr: readonly string[] } {
    const record = this.replica?.replication.record ?? null;
    if (record !== null) return { leader: record.leader, isr: record.isr };
    const { nodeId } = this.options;
    return online ? { leader: nodeId, isr: [nodeId] } : { leader: null, isr: [] };
  }

  /**
   * Actors may run over it as their journal: it leads, and has all that was acknowledged before. A broker alone leads whatever
   * becomes of its disk, which its actors meet as failures.
   */
  get leads(): boolean {
    return this.replica === null || this.held.leads;
  }

  /** Why it does not serve here. */
  refusal(): BrokerError {
    try {
      this.held.online();
    } catch (error) {
      return asBrokerError(error);
    }
    const message = `${this.options.name} waits for its in-sync replicas`;
    return new BrokerError("LEADER_NOT_AVAILABLE", message);
  }

  /** The epoch in which it leads, as in `leads`. Throws its refusal where it does not. */
  ledEpoch(): number {
    if (!this.leads) throw this.refusal();
    return this.held.state?.leaderEpoch ?? -1;
  }

  /** Hears each time that `leads` has changed. */
  onLeadership(listener: (leads: boolean) => void): () => void {
    return this.replica === null ? () => {} : this.held.onLeadership(listener);
  }

  /** What measuring asks each second: cheaper than `info`. */
  activity(topic: string): PartitionActivity {
    return {
      topic,
      partition: this.options.partition,
      online: this.isOnline,
      appendedBytes: this.writer.appendedBytes,
      sizeBytes: this.held.log?.sizeBytes ?? 0,
      waiting: this.writer.waiting,
    };
  }

  /** `keepFrom`: nothing from there on is dropped; default: nothing that is not readable. */
  async applyRetention(
    policy: Omit<RetentionPolicy, "keepFrom"> & { readonly keepFrom?: number },
  ): Promise<void> {
    const { log, state } = this.held.held();
    if (this.held.term?.role === "follower") return await this.dropAsLeader(log, policy.now);
    // A transaction that is open may yet be committed as a whole.
    const stable = this.producers.lastStableOffset(state.highWatermark);
    const keepFrom = Math.min(policy.keepFrom ?? Infinity, stable);
    const droppable = await log.droppableOffset?.({ ...policy, keepFrom }) ?? keepFrom;
    if (log !== this.held.log) return;
    const dropTo = await this.producers.keepBelow(droppable, () => this.held.state!.logEndOffset);
    await log.applyRetention({ ...policy, keepFrom: Math.min(keepFrom, dropTo) });
    this.held.noteLogStart();
  }

  /** A follower keeps what its leader keeps, by whole segments. */
  private async dropAsLeader(log: Log, now: number): Promise<void> {
    const { highWatermark, logEndOffset } = this.held.state!;
    const leaderStart = this.replica?.follower.leaderStartOffset ?? 0;
    const wanted = Math.min(leaderStart, highWatermark);
    const keepFrom = await this.producers.keepBelow(wanted, () => logEndOffset);
    if (log !== this.held.log || keepFrom <= log.logStartOffset) return;
    await log.applyRetention({ now, retentionMs: null, retentionBytes: 0, keepFrom });
    this.held.noteLogStart();
  }

  /** Takes away what newer records of the same keys replace, below the last stable offset. */
  async compact(policy: Omit<CompactionPolicy, "keepFrom" | "aborted">): Promise<void> {
    const { log, state } = this.held.held();
    const keepFrom = this.producers.lastStableOffset(state.highWatermark);
    const aborted = this.producers.abortedWithin(state.logStartOffset, keepFrom);
    try {
      await log.compact?.({ ...policy, keepFrom, aborted });
    } catch (error) {
      // What is on disk and what the log knows of it may differ now, for readers too.
      const fault = log.fault ?? null;
      if (fault?.code === "STORAGE_FAILED") this.held.failed(log, fault);
      throw error;
    }
  }

  async configure(logConfig: LogConfig): Promise<void> {
    await this.held.configure(logConfig);
    this.replica?.replication.reconfigured();
  }

  /** Refuses new appends, finishes the accepted ones, closes the log cleanly. */
  async close(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    this.replica?.stop();
    await this.writer.finish(this.held.beginClose());
    this.wakeAll();
    await this.held.close();
  }
}
