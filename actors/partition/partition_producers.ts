// Owns the producers and transactions of one partition as a whole: folded from its log, kept in snapshots.
// Refuses to own decisions (decide.ts, producer_state.ts) and the log.
// Invariant: what is here is what the log's headers tell up to the last commit; a snapshot only saves reading them.
import type { BrokerError } from "../../storage/broker_error.ts";
import { baseOffsetAt, batchSpans, lastOffsetDeltaAt } from "../../storage/format/record_batch.ts";
import type { AbortedTransaction, Log } from "../../storage/log.ts";
import type { Clock } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { ProducerCensus } from "./producer_census.ts";
import { readProducerEvents } from "./producer_headers.ts";
import {
  decodeProducers,
  encodeProducers,
  PRODUCER_SNAPSHOT_VERSION,
} from "./producer_snapshot.ts";
import type { ProducerEntry, ProducerEvent, ProducerView } from "./producer_state.ts";
import { ProducerTable } from "./producer_table.ts";
import { TransactionIndex } from "./transaction_index.ts";

/** Log that a start may have to read again: a snapshot is due after so much. */
const SNAPSHOT_BYTES = 32 * 1_048_576;
/** A clean end writes no snapshot for less than this, unless producers have changed: reading it again is cheaper. */
const MIN_SNAPSHOT_BYTES = 1_048_576;
/** A start that has read as much writes a snapshot, beside other work. */
const LONG_TAIL_BYTES = 4 * 1_048_576;
/**
 * After so long the next upkeep writes one of what has changed: a disk that is full later takes none, and retention, which
 * would make it room, may drop what the last one tells.
 */
const SNAPSHOT_MAX_AGE_MS = 3_600_000;

export interface PartitionProducersOptions {
  /** As it is reported: topic and number. */
  readonly name: string;
  /** Path name of the log. */
  readonly logName: string;
  /** Whose the topic is; left out: nobody's in particular. */
  readonly owner?: string;
  readonly clock: Clock;
  readonly census: ProducerCensus;
  readonly snapshots: SnapshotStore;
  report(event: { level: "warning" | "error"; message: string; error?: unknown }): void;
}

/** Id of the snapshot that belongs to a log. */
export function producerSnapshotId(logName: string): string {
  return `producers/${logName}`;
}

export class PartitionProducers implements ProducerView {
  private readonly table: ProducerTable;
  private readonly transactions = new TransactionIndex();
  private bytesSinceSnapshot = 0;
  private changedSinceSnapshot = false;
  /** Up to here a snapshot tells what the log does. */
  private savedOffset = 0;
  /** Monotonic time of the last attempt, ms. */
  private triedAtMs: number;
  private saving: Promise<boolean> | null = null;

  constructor(private readonly options: PartitionProducersOptions) {
    this.table = new ProducerTable(options.census, options.owner);
    this.triedAtMs = options.clock.monotonic();
  }

  get(producerId: number): ProducerEntry | undefined {
    return this.table.get(producerId);
  }

  /** No further transaction may be opened: too many aborted ones are remembered. */
  get isFull(): boolean {
    return this.transactions.isFull;
  }

  lastStableOffset(highWatermark: number): number {
    return this.transactions.lastStableOffset(highWatermark);
  }

  abortedWithin(from: number, to: number): AbortedTransaction[] {
    return this.transactions.abortedWithin(from, to);
  }

  /** Aborted transactions of which `batches`, read from `offset` on and below `endOffset`, may hold something. */
  abortedIn(batches: Uint8Array, offset: number, endOffset: number): AbortedTransaction[] {
    if (batches.length === 0) return [];
    const aborted = this.transactions.abortedWithin(offset, endOffset);
    if (aborted.length === 0) return aborted;
    let end = offset;
    for (const { at } of batchSpans(batches)) {
      end = baseOffsetAt(batches, at) + lastOffsetDeltaAt(batches, at) + 1;
    }
    return aborted.filter(({ firstOffset }) => firstOffset < end);
  }

  /** Folds in what the log has made durable: `bytes` of batches that ended at `logEndOffset`. */
  commit(
    events: readonly ProducerEvent[],
    { bytes, logEndOffset }: { bytes: number; logEndOffset: number },
  ): void {
    if (events.length > 0) {
      for (const event of events) this.transactions.apply(event);
      this.table.commit(events, this.options.clock.monotonic());
      this.changedSinceSnapshot = true;
    }
    this.bytesSinceSnapshot += bytes;
    if (this.bytesSinceSnapshot >= SNAPSHOT_BYTES) void this.save(logEndOffset);
  }

  /** Forgets who has been idle for too long, and transactions that the log no longer holds. */
  sweep(logStartOffset: number): void {
    this.table.expire(this.options.clock.monotonic());
    this.transactions.dropBelow(logStartOffset);
  }

  /**
   * Before the log is cut off below `offset`: what only the records below it tell must be in a snapshot. Resolves to how
   * far it may be cut, which is less where that snapshot could not be written. Also where they tell nothing: the next
   * start would read them again to find that out, in an archive that may be away.
   */
  async keepBelow(offset: number, logEndOffset: () => number): Promise<number> {
    await this.saving;
    const ageMs = this.options.clock.monotonic() - this.triedAtMs;
    const isDue = this.changedSinceSnapshot && ageMs >= SNAPSHOT_MAX_AGE_MS;
    if (offset <= this.savedOffset && !isDue) return offset;
    const isNeeded = this.changedSinceSnapshot;
    const isSaved = await this.save(logEndOffset());
    return isSaved || !isNeeded ? offset : Math.min(offset, this.savedOffset);
  }

  /** Takes the state from the snapshot and what the log holds behind it. Rejects as the log does. */
  async open(log: Log): Promise<void> {
    await this.clear();
    const { snapshots, logName, clock } = this.options;
    const snapshot = await snapshots.load(producerSnapshotId(logName));
    const now = clock.monotonic();
    // One that tells of more than the log holds is of records that were lost: the log alone counts.
    const usable = snapshot !== null && snapshot.version === PRODUCER_SNAPSHOT_VERSION &&
      snapshot.nextOffset <= log.logEndOffset;
    const state = usable ? decodeProducers(snapshot.bytes, now) : null;
    if (state !== null) this.restore(state);
    const fromOffset = state === null ? 0 : snapshot!.nextOffset;
    this.savedOffset = fromOffset;
    const isAhead = snapshot !== null && snapshot.nextOffset > log.logEndOffset;
    // Before anything is appended: it could else become believable again.
    if (isAhead) await snapshots.remove(producerSnapshotId(logName));
    this.bytesSinceSnapshot = await this.fold(log, { fromOffset, at: now });
    this.sweep(log.logStartOffset);
    if (this.bytesSinceSnapshot >= LONG_TAIL_BYTES) void this.save(log.logEndOffset);
  }

  /** Resolves to the bytes that were read. */
  private async fold(
    log: Log,
    { fromOffset, at }: { fromOffset: number; at: number },
  ): Promise<number> {
    let fault: BrokerError | null = null;
    const onFault = (error: BrokerError) => void (fault ??= error);
    const bytes = await readProducerEvents(log, { fromOffset, at, onFault }, (event) => {
      this.transactions.apply(event);
      this.table.commit([event], at);
      this.changedSinceSnapshot = true;
    });
    if (fault !== null) {
      const message = `${this.options.name} may take repeats for new: a range of it is corrupt`;
      this.options.report({ level: "error", message, error: fault });
    }
    return bytes;
  }

  /** After the last append, when the log has been closed cleanly. */
  async close(logEndOffset: number): Promise<void> {
    await this.saving;
    const isDue = this.changedSinceSnapshot || this.bytesSinceSnapshot >= MIN_SNAPSHOT_BYTES;
    if (isDue) await this.save(logEndOffset);
  }

  /** Lets go of what is remembered; resolves when nothing is being written. */
  async clear(): Promise<void> {
    await this.saving;
    this.table.clear();
    this.transactions.clear();
    this.bytesSinceSnapshot = 0;
    this.changedSinceSnapshot = false;
    this.savedOffset = 0;
  }

  private restore(state: NonNullable<ReturnType<typeof decodeProducers>>): void {
    this.transactions.restore(state);
    const open = state.producers.filter(([, { transactionOffset }]) => transactionOffset >= 0)
      .map(([producerId, { transactionOffset }]) => [producerId, transactionOffset] as const)
      .sort(([, a], [, b]) => a - b);
    for (const [producerId, firstOffset] of open) {
      this.transactions.restoreOpen(producerId, firstOffset);
    }
    for (const [producerId, entry] of state.producers) this.table.restore(producerId, entry);
  }

  /** One at a time; resolves to whether it is on disk. A failure costs the next start time, and has retention wait. */
  private save(nextOffset: number): Promise<boolean> {
    this.saving ??= this.write(nextOffset).finally(() => this.saving = null);
    return this.saving;
  }

  private async write(nextOffset: number): Promise<boolean> {
    const { snapshots, name, logName, clock, report } = this.options;
    const state = { producers: [...this.table.all()], ...this.transactions.state() };
    const now = clock.monotonic();
    const bytes = encodeProducers(state, now);
    this.triedAtMs = now;
    const hasChanged = this.changedSinceSnapshot;
    this.bytesSinceSnapshot = 0;
    this.changedSinceSnapshot = false;
    try {
      const version = PRODUCER_SNAPSHOT_VERSION;
      await snapshots.save(producerSnapshotId(logName), { version, nextOffset, bytes });
      this.savedOffset = nextOffset;
      return true;
    } catch (error) {
      // The log is still the only one that tells.
      this.changedSinceSnapshot ||= hasChanged;
      const message =
        `the producers of ${name} were not saved: the next start reads more, and retention may have to wait`;
      report({ level: "warning", message, error });
      return false;
    }
  }
}
