// Owns the log of a partition: opening, taking offline and recovering it, the role in which it is held, and the state that
// goes with what is open.
// Refuses to own what is appended (partition_writer.ts), who decides roles (terms.ts), how replicas speak
// (partition_replication.ts), and who reads or waits (partition.ts, partition_readers.ts).
// Invariant: after a write of unknown outcome the log is closed and recovered before it is used again; what readers were
// shown is still there then, or the partition stays offline. Only a leader's appends and readers are served.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Log, LogConfig, LogStore } from "../../storage/log.ts";
import type { Timers } from "../../storage/ports.ts";
import { Turn } from "../../storage/turns.ts";
import { evolvePartition, isSettled, openedPartition, type PartitionState } from "./decide.ts";
import { FlushWaits } from "./flush_waits.ts";
import type { PartitionProducers } from "./partition_producers.ts";
import type { PartitionReaders } from "./partition_readers.ts";
import type { Term, Terms } from "./terms.ts";

/** Wait before a log whose disk failed is opened again: doubles from the first to the last. */
const REOPEN_FIRST_MS = 200;
const REOPEN_LAST_MS = 30_000;

export interface ReplicaLogOptions {
  /** Topic name and number, for messages. */
  readonly name: string;
  readonly logName: string;
  readonly nodeId: string;
  readonly logs: LogStore;
  readonly logConfig: LogConfig;
  readonly timers: Timers;
  readonly terms: Terms;
  report(event: { level: "info" | "warning" | "error"; message: string; error?: unknown }): void;
}

/** A log that can be used, and the state of its leader. */
export interface OpenLog {
  readonly log: Log;
  readonly state: PartitionState;
}

/** What is folded from the log when it opens, and who is told. */
interface Followers {
  readonly producers: PartitionProducers;
  readonly readers: PartitionReaders;
}

export class ReplicaLog {
  /** Held by whatever changes the end of the log, or the role: each sees what the one before has left. */
  readonly turn = new Turn();
  private openedLog: Log | null = null;
  private lastState: PartitionState | null = null;
  private lastTerm: Term | null = null;
  private readonly waits: FlushWaits;
  private readonly leadershipListeners = new Set<(leads: boolean) => void>();
  private readonly grownListeners = new Set<() => void>();
  private wasLeading = false;
  private failure: BrokerError | null = null;
  private closing = false;
  private reopenMs = REOPEN_FIRST_MS;
  private cancelReopen: (() => void) | null = null;
  private reopening: Promise<void> = Promise.resolve();
  private logConfig: LogConfig;

  constructor(
    private readonly options: ReplicaLogOptions,
    private readonly followers: Followers,
  ) {
    this.logConfig = options.logConfig;
    this.waits = new FlushWaits(options.timers, options.name);
  }

  /** Null while it is offline. */
  get log(): Log | null {
    return this.openedLog;
  }

  /** In which role it is held; null before it was opened. */
  get term(): Term | null {
    return this.lastTerm;
  }

  /** Leads, and knows that all replicas that count have what was acknowledged before: what is read is whole. */
  get leads(): boolean {
    const { lastState: state, lastTerm: term } = this;
    return term?.role === "leader" && this.openedLog !== null && this.fault === null &&
      state !== null && isSettled(state);
  }

  /** Hears each time that `leads` has changed. */
  onLeadership(listener: (leads: boolean) => void): () => void {
    this.leadershipListeners.add(listener);
    return () => this.leadershipListeners.delete(listener);
  }

  /** Hears each time that the log has more that is synced. */
  onGrown(listener: () => void): () => void {
    this.grownListeners.add(listener);
    return () => this.grownListeners.delete(listener);
  }

  /** Hears each rise of the high watermark. */
  onRisen(listener: () => void): () => void {
    return this.followers.readers.onAdvance(listener);
  }

  /** As it is, or was before the log went offline; null when it was never open. */
  get state(): PartitionState | null {
    return this.lastState;
  }

  get durability(): LogConfig["durability"] {
    return this.logConfig.durability;
  }

  /** Why it takes no appends; null when it does, or has not been opened yet. */
  get fault(): BrokerError | null {
    return this.failure ?? this.damage();
  }

  /** Throws when the partition does not serve, or closes. */
  online(): OpenLog {
    if (this.closing) throw this.closed();
    return this.serving();
  }

  /** Accepted appends are still written while the partition closes. Throws NOT_LEADER where another replica leads. */
  serving(): OpenLog {
    if (this.lastTerm?.role === "follower") throw this.notLeader(this.lastTerm.leader);
    return this.held();
  }

  /** As `serving`, in whatever role. */
  held(): OpenLog {
    if (this.failure !== null) throw this.failure;
    this.noteLogStart();
    if (this.openedLog === null || this.lastState === null) throw this.absent();
    return { log: this.openedLog, state: this.lastState };
  }

  refuseDamaged(): void {
    const damage = this.damage();
    if (damage !== null) throw damage;
  }

  /** The log raises its start before it has removed what lies below: nobody may be sent there meanwhile. */
  noteLogStart(): void {
    const { openedLog: log, lastState: state } = this;
    if (log === null || state === null || log.logStartOffset <= state.logStartOffset) return;
    const { logStartOffset } = log;
    this.lastState = evolvePartition(state, { type: "LogStartRaised", logStartOffset });
  }

  async configure(logConfig: LogConfig): Promise<void> {
    this.logConfig = logConfig;
    const log = this.openedLog;
    if (log === null) return;
    await log.configure(logConfig);
    if (log === this.openedLog) this.advance(log, this.lastState!);
  }

  /** Takes over the log end that follows a write to `log`; it can be trusted again. */
  appended(log: Log, { logEndOffset }: { readonly logEndOffset: number }): void {
    // Retention, acknowledgements and another role may have changed the rest while the write was under way.
    this.advance(log, evolvePartition(this.lastState!, { type: "BatchesAppended", logEndOffset }));
    this.reopenMs = REOPEN_FIRST_MS;
  }

  /**
   * Resolves when the high watermark has reached `offset` in the epoch of now: the append is acknowledged. Rejects with
   * STORAGE_FAILED when that is not known within the bound, or another leads by then: the outcome is unknown.
   */
  replicated(offset: number, leaderEpoch: number): Promise<void> | null {
    const state = this.lastState!;
    if (state.highWatermark >= offset && state.leaderEpoch === leaderEpoch) return null;
    return this.waits.wait(offset, state.leaderEpoch === leaderEpoch);
  }

  /** Throws NOT_ENOUGH_REPLICAS where an append could not be acknowledged now. */
  refuseTooFew(): void {
    const { inSyncCount, minInsync } = this.lastState!;
    if (inSyncCount >= minInsync) return;
    const message =
      `${this.options.name} has ${inSyncCount} in-sync replicas, and appends need ${minInsync}`;
    throw new BrokerError("NOT_ENOUGH_REPLICAS", message, {
      inSyncReplicas: inSyncCount,
      minInsyncReplicas: minInsync,
    });
  }

  /** A replica has acknowledged to this leader, in this epoch, that it has synced all below `flushedOffset`. */
  replicaFlushed(nodeId: string, flushedOffset: number): void {
    const state = this.lastState!;
    const known = state.flushedOffsets.get(nodeId);
    if (known === undefined || known === flushedOffset) return;
    this.take(evolvePartition(state, { type: "ReplicaFlushed", nodeId, flushedOffset }));
  }

  /** Who is in sync has changed, in this epoch. */
  inSyncChanged(
    change: { inSync: readonly string[]; joining: readonly string[]; minInsync: number },
  ): void {
    if (this.lastState === null || this.lastTerm?.role !== "leader") return;
    this.take(evolvePartition(this.lastState, { type: "InSyncChanged", ...change }));
  }

  /** What the leader says of its high watermark; this follower knows as much of it as it has. */
  highWatermarkTold(highWatermark: number): void {
    const state = this.lastState;
    if (state === null) return;
    const known = Math.min(highWatermark, state.logEndOffset);
    if (known > state.highWatermark) this.take({ ...state, highWatermark: known });
  }

  /** The log was cut back to its end of now, which other replicas have agreed upon. */
  truncated(log: Log): void {
    const state = this.lastState!;
    const { logEndOffset } = log;
    this.lastState = {
      ...state,
      logEndOffset,
      highWatermark: Math.min(state.highWatermark, logEndOffset),
    };
  }

  /** Lets go of all that the log holds, and begins it anew at `startOffset`. Nobody uses it meanwhile: in the log's turn. */
  async restartAt(log: Log, startOffset: number): Promise<void> {
    const { logs, logName } = this.options;
    this.openedLog = null;
    try {
      await log.close();
      await logs.remove(logName);
      const made = await logs.open(logName, { ...this.logConfig, startOffset });
      await this.followers.producers.open(made);
      this.lastState = { ...this.lastState!, highWatermark: startOffset };
      this.lastState = this.begun(this.lastTerm!, made);
      this.openedLog = made;
    } catch (error) {
      this.recoverFrom(asBrokerError(error));
      throw error;
    }
  }

  /** Lets go of the log, which this broker is no longer a replica of; it may be opened again. */
  async unload(): Promise<void> {
    this.cancelReopen?.();
    await this.reopening;
    const log = this.openedLog;
    this.openedLog = null;
    this.lastState = this.lastTerm = this.failure = null;
    this.waits.failAll("this broker is no longer a replica");
    this.noteLeadership();
    this.followers.readers.wakeAll();
    await log?.close();
    await this.followers.producers.clear();
  }

  /** Another role, for the log as it is open. The last write of the old role has settled. */
  assume(term: Term): void {
    const { openedLog: log } = this;
    this.lastTerm = term;
    if (log !== null && this.lastState !== null) {
      this.lastState = this.begun(term, log);
      this.waits.failAll("another replica leads now, or this one in a new epoch");
    }
    this.noteLeadership();
    if (log !== null && this.lastState !== null) this.followers.readers.advanced(this.lastState);
    // Those who wait for data ask again, and hear who leads.
    if (term.role === "follower") this.followers.readers.wakeAll();
  }

  private begun(term: Term, log: Log): PartitionState {
    const { name, nodeId } = this.options;
    const { logStartOffset } = log;
    const flushedOffset = this.readableEnd(log);
    const knownHighWatermark = this.lastState?.highWatermark ?? 0;
    const start = { name, nodeId, logStartOffset, flushedOffset, knownHighWatermark };
    const { leaderEpoch } = term;
    if (term.role === "follower") {
      // Nothing of its own acknowledgement makes anything readable.
      return openedPartition({ ...start, leaderEpoch, inSync: [nodeId], minInsync: Infinity });
    }
    const { inSync, minInsync } = term;
    return openedPartition({ ...start, leaderEpoch, inSync, minInsync });
  }

  private take(state: PartitionState): void {
    this.lastState = state;
    this.waits.advance(state.highWatermark);
    this.noteLeadership();
    this.followers.readers.advanced(state);
  }

  private noteLeadership(): void {
    const { leads } = this;
    if (leads === this.wasLeading) return;
    this.wasLeading = leads;
    for (const listener of [...this.leadershipListeners]) listener(leads);
  }

  private absent(): BrokerError {
    const { terms, name } = this.options;
    const elsewhere = terms.elsewhere();
    if (elsewhere !== null) return this.notLeader(elsewhere.leader);
    return new BrokerError("LEADER_NOT_AVAILABLE", `${name} is opening`);
  }

  private notLeader(leader: string | null): BrokerError {
    const { name } = this.options;
    if (leader === null) {
      return new BrokerError("LEADER_NOT_AVAILABLE", `${name} has no leader now`);
    }
    return new BrokerError("NOT_LEADER", `${name} is led by broker ${leader}`, { leader });
  }

  /** `log` failed: it is recovered, unless that has begun already. */
  failed(log: Log, failure: BrokerError): void {
    if (log === this.openedLog) this.recoverFrom(failure);
  }

  /** Opens the log; one that cannot be opened is offline and says why. */
  async open(): Promise<void> {
    const { name, logName, logs, terms, report } = this.options;
    if (this.closing) return;
    try {
      const term = await terms.begin(this.lastState !== null);
      const log = await logs.open(logName, this.logConfig);
      await this.takeOver(log);
      this.lastTerm = term;
      this.lastState = this.begun(term, log);
      this.openedLog = log;
      this.failure = null;
      const error = this.damage();
      if (error !== null) {
        const message = `${name} is offline: it takes no appends and serves what lies before`;
        report({ level: "error", message, error });
      }
      this.noteLeadership();
      this.followers.readers.opened(this.lastState);
      terms.opened();
    } catch (error) {
      this.notOpened(asBrokerError(error));
    }
  }

  /** A log that cannot be taken over is closed: it is to be opened again, and has one handle. */
  private async takeOver(log: Log): Promise<void> {
    try {
      this.refuseLoss(log);
      await this.followers.producers.open(log);
    } catch (error) {
      await log.close().catch(() => undefined);
      throw error;
    }
  }

  /**
   * Opens a log that is offline now, instead of when its turn comes, also one that would never be opened again; resolves
   * when it is open, or not. One that is open and damaged is left alone: opening it again finds the same bytes.
   */
  async reopen(): Promise<void> {
    if (this.closing || this.openedLog !== null) return;
    this.reopenMs = REOPEN_FIRST_MS;
    this.reopening = this.reopening.then(async () => {
      if (this.closing || this.openedLog !== null) return;
      this.cancelReopen?.();
      await this.open();
    });
    await this.reopening;
  }

  /** No longer serves new callers, and does not open again. */
  beginClose(): BrokerError {
    this.closing = true;
    this.cancelReopen?.();
    return this.closed();
  }

  /** Closes the log, after `beginClose` and the last write; keeps the producers of one that was closed cleanly. */
  async close(): Promise<void> {
    // An opening under way must not leave a log open behind whoever removes its data next.
    await this.reopening;
    // Nor may what a follower is appending be in the log and not among its producers.
    await this.turn.run(() => this.closeOpened());
  }

  private async closeOpened(): Promise<void> {
    const { producers } = this.followers;
    const log = this.openedLog;
    this.openedLog = null;
    this.waits.failAll("the partition is closing");
    this.noteLeadership();
    try {
      await log?.close();
      if (log !== null && this.damage(log) === null) await producers.close(log.logEndOffset);
    } finally {
      await producers.clear();
    }
  }

  private closed(): BrokerError {
    return new BrokerError("SHUTTING_DOWN", `${this.options.name} is closing`);
  }

  /** A log that was found corrupt is open, for reading what lies before the damage. */
  private damage(log = this.openedLog): BrokerError | null {
    const fault = log?.fault ?? null;
    return fault?.code === "CORRUPT_LOG" ? fault : null;
  }

  /** Shows readers what the log now holds as durably as the topic asks, once as many replicas have it. */
  private advance(log: Log, working: PartitionState): void {
    const flushedOffset = this.readableEnd(log);
    const { nodeId } = this.options;
    this.take(evolvePartition(working, { type: "ReplicaFlushed", nodeId, flushedOffset }));
    for (const listener of this.grownListeners) listener();
  }

  /** How far a log is kept as the topic asks: by the disk, or by the operating system. This is what replicas acknowledge. */
  readableEnd(log: Log): number {
    return this.durability === "os" ? log.logEndOffset : log.flushedOffset;
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
    const log = this.openedLog;
    this.openedLog = null;
    this.waits.failAll(failure.message);
    this.noteLeadership();
    if (log !== null) this.reopening = log.close().catch(() => undefined);
    if (this.closing) return;
    this.cancelReopen = timers.after(this.reopenMs, () => {
      this.reopening = this.reopening.then(() => this.open());
    });
    this.reopenMs = Math.min(this.reopenMs * 2, REOPEN_LAST_MS);
  }

  private notOpened(failure: BrokerError): void {
    if (failure.code !== "CORRUPT_LOG" && failure.code !== "INTERNAL") {
      return this.recoverFrom(failure);
    }
    // Opening again finds the same bytes: this needs an operator.
    this.failure = failure;
    const message = `${this.options.name} stays offline`;
    this.options.report({ level: "error", message, error: failure });
  }

  /** What readers were shown must still be there, unless the topic takes such losses for speed. */
  private refuseLoss(log: Log): void {
    const shown = this.lastState?.highWatermark ?? 0;
    const { name, report } = this.options;
    if (log.flushedOffset >= shown) return;
    const message =
      `${name} ends at ${log.flushedOffset} after recovery, but ${shown} was acknowledged`;
    if (this.durability === "os") return report({ level: "error", message });
    throw new BrokerError("CORRUPT_LOG", message);
  }
}
