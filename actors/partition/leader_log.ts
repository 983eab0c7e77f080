// Owns the log of a partition as its leader holds it: opening, taking offline and recovering it, and the state that goes
// with what is open.
// Refuses to own what is appended (partition_writer.ts), and who reads or waits (partition.ts, partition_readers.ts).
// Invariant: after a write of unknown outcome the log is closed and recovered before it is used again; what readers were
// shown is still there then, or the partition stays offline.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Log, LogConfig, LogStore } from "../../storage/log.ts";
import type { Timers } from "../../storage/ports.ts";
import { evolvePartition, openedPartition, type PartitionState } from "./decide.ts";
import type { LeaderEpochs } from "./leader_epochs.ts";
import type { PartitionProducers } from "./partition_producers.ts";
import type { PartitionReaders } from "./partition_readers.ts";

/** Wait before a log whose disk failed is opened again: doubles from the first to the last. */
const REOPEN_FIRST_MS = 200;
const REOPEN_LAST_MS = 30_000;

export interface LeaderLogOptions {
  /** Topic name and number, for messages. */
  readonly name: string;
  readonly logName: string;
  readonly nodeId: string;
  readonly logs: LogStore;
  readonly logConfig: LogConfig;
  readonly timers: Timers;
  readonly epochs: LeaderEpochs;
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

export class LeaderLog {
  private openedLog: Log | null = null;
  private lastState: PartitionState | null = null;
  private failure: BrokerError | null = null;
  private closing = false;
  private reopenMs = REOPEN_FIRST_MS;
  private cancelReopen: (() => void) | null = null;
  private reopening: Promise<void> = Promise.resolve();
  private logConfig: LogConfig;

  constructor(
    private readonly options: LeaderLogOptions,
    private readonly followers: Followers,
  ) {
    this.logConfig = options.logConfig;
  }

  /** Null while it is offline. */
  get log(): Log | null {
    return this.openedLog;
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

  /** Accepted appends are still written while the partition closes. */
  serving(): OpenLog {
    if (this.failure !== null) throw this.failure;
    this.noteLogStart();
    if (this.openedLog === null || this.lastState === null) {
      throw new BrokerError("LEADER_NOT_AVAILABLE", `${this.options.name} is opening`);
    }
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

  /** Takes over the state that follows a write to `log`; it can be trusted again. */
  appended(log: Log, working: PartitionState): void {
    // Retention may have raised the log start while the write was under way.
    this.advance(log, { ...working, logStartOffset: this.lastState!.logStartOffset });
    this.reopenMs = REOPEN_FIRST_MS;
  }

  /** `log` failed: it is recovered, unless that has begun already. */
  failed(log: Log, failure: BrokerError): void {
    if (log === this.openedLog) this.recoverFrom(failure);
  }

  /** Opens the log; one that cannot be opened is offline and says why. */
  async open(): Promise<void> {
    const { name, logName, logs, nodeId, epochs, report } = this.options;
    if (this.closing) return;
    try {
      // The broker's start has raised the epoch; opening again within one run must do so itself.
      const leaderEpoch = this.lastState === null ? epochs.current : await epochs.raise();
      const log = await logs.open(logName, this.logConfig);
      await this.takeOver(log);
      const { logStartOffset, flushedOffset } = log;
      this.lastState = openedPartition({
        name,
        nodeId,
        leaderEpoch,
        logStartOffset,
        flushedOffset,
      });
      this.openedLog = log;
      this.failure = null;
      const error = this.damage();
      if (error !== null) {
        const message = `${name} is offline: it takes no appends and serves what lies before`;
        report({ level: "error", message, error });
      }
      this.followers.readers.opened(this.lastState);
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
    const { producers } = this.followers;
    // An opening under way must not leave a log open behind whoever removes its data next.
    await this.reopening;
    const log = this.openedLog;
    this.openedLog = null;
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

  /** Shows readers what the log now holds as durably as the topic asks: to the disk, or to the operating system. */
  private advance(log: Log, working: PartitionState): void {
    const flushedOffset = this.durability === "os" ? log.logEndOffset : log.flushedOffset;
    const { nodeId } = this.options;
    this.lastState = evolvePartition(working, { type: "ReplicaFlushed", nodeId, flushedOffset });
    this.followers.readers.advanced(this.lastState);
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
