// Owns what the outside knows of one partition, and what that allows it to be from now on.
// Refuses to ask the broker anything: clients tell it what they sent and were shown.
// Invariant: it trusts nothing but answers; a send without an answer is "maybe".
import type { AppendReceipt, FetchResult, PartitionInfo, Topic } from "../../../actors/broker.ts";
import { decodeBatch } from "../../../storage/format/decode.ts";
import {
  baseOffsetAt,
  batchSpans,
  lastOffsetDeltaAt,
  leaderEpochAt,
} from "../../../storage/format/record_batch.ts";
import { AckChecker, type Seen } from "../../../ops/drills/ack_checker.ts";
import type { LedgerSource } from "../client_scene.ts";
import type { RunWorld } from "../world.ts";

const MAX_DECOMPRESSED_BYTES = 16 * 1_048_576;
const HOUR_MS = 3_600_000;
/** The checker numbers partitions; a ledger has one. */
const PARTITION = 0;

const decoder = new TextDecoder();

/** The values of `batches`, in order, with their offsets. Throws when the batches are not what a log holds. */
export function valuesIn(batches: Uint8Array): Seen[] {
  const seen: Seen[] = [];
  for (const { at } of batchSpans(batches)) {
    for (
      const record of decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES })
    ) {
      const value = record.value === null ? "" : decoder.decode(record.value);
      seen.push({ partition: PARTITION, offset: record.offset, value });
    }
  }
  return seen;
}

/** What was known when a question was asked: no answer may be below it. */
export interface Floor {
  readonly highWatermark: number;
  readonly logStartOffset: number;
}

export class PartitionLedger implements Floor {
  /** The highest that anyone was told. */
  highWatermark = 0;
  logStartOffset = 0;
  /** The highest leader epoch of any process but the one that runs. */
  #pastEpoch = -1;
  #epoch = -1;
  #acks = new AckChecker();
  readonly #sentAt = new Map<string, number>();
  /** Value by offset of what was acknowledged, to know how old it is when retention takes it. */
  readonly #ackedValues = new Map<number, string>();
  #ackedEnd = 0;
  #losses = 0;
  /** When something was last acknowledged, in virtual ms. */
  lastAckedAt = -Infinity;

  constructor(
    private readonly world: RunWorld,
    private readonly machine: LedgerSource,
    readonly topic: Topic,
    readonly partition: number,
  ) {}

  get name(): string {
    return `${this.topic.name}/${this.partition}`;
  }

  /** End of what was acknowledged as synced. */
  get ackedEnd(): number {
    return this.#ackedEnd;
  }

  sent(value: string): void {
    this.#sentAt.set(value, this.world.time.monotonic());
  }

  /** `values` by batch, as they were sent together. */
  acknowledged(values: readonly (readonly string[])[], receipt: AppendReceipt): void {
    const { baseOffsets, durability } = receipt;
    if (durability === "none") return;
    this.lastAckedAt = this.world.time.monotonic();
    let next = -1;
    values.forEach((batch, index) => {
      const baseOffset = baseOffsets[index]!;
      if (baseOffset < next) this.#broken(`I4: batches of one append got offsets ${baseOffsets}`);
      batch.forEach((value, delta) => {
        this.#report(
          this.#acks.acknowledged({ partition: PARTITION, offset: baseOffset + delta, value }),
        );
        this.#ackedValues.set(baseOffset + delta, value);
      });
      next = baseOffset + batch.length;
    });
    if (receipt.highWatermark < next) {
      this.#broken(
        `acknowledged up to ${next} with the high watermark at ${receipt.highWatermark}`,
      );
    }
    this.#ackedEnd = Math.max(this.#ackedEnd, next);
    this.#sawHighWatermark(receipt.highWatermark, 0);
  }

  /** The power went, or a sync failed: what was only with the operating system may be gone, and so may be its place. */
  forgetUnsynced(): void {
    if (this.topic.config.durability === "fsync") return;
    this.#acks = new AckChecker();
    this.#ackedValues.clear();
    this.#ackedEnd = 0;
    this.highWatermark = 0;
    this.#losses++;
  }

  /** How often what was not synced may have been lost, so far. */
  get losses(): number {
    return this.#losses;
  }

  floor(): Floor {
    const { highWatermark, logStartOffset } = this;
    return { highWatermark, logStartOffset };
  }

  #sawHighWatermark(highWatermark: number, floor: number): void {
    if (highWatermark < floor && !this.machine.mayBeBehind) {
      this.#broken(`the high watermark fell from ${floor} to ${highWatermark}`);
    }
    this.highWatermark = Math.max(this.highWatermark, highWatermark);
    const log = this.machine.logOf(this.topic.topicId, this.partition);
    if (log === null || this.machine.broker === null) return;
    const isWeak = this.topic.config.durability === "os";
    const end = isWeak ? log.logEndOffset : log.flushedOffset;
    if (highWatermark > end) {
      this.#broken(`high watermark ${highWatermark} is above the flushed end ${end}`);
    }
  }

  sawInfo(info: PartitionInfo, floor: Floor): void {
    if (info.state === "offline") return;
    const { logStartOffset, logEndOffset, highWatermark, leaderEpoch } = info;
    this.#sawHighWatermark(highWatermark, floor.highWatermark);
    if (logStartOffset > highWatermark || highWatermark > logEndOffset) {
      this.#broken(`offsets out of order: ${logStartOffset} ${highWatermark} ${logEndOffset}`);
    }
    if (leaderEpoch <= this.#pastEpoch || leaderEpoch < this.#epoch) {
      this.#broken(`leader epoch ${leaderEpoch} was used before`);
    }
    this.#epoch = leaderEpoch;
    this.#sawLogStart(logStartOffset, { floor, sizeBytes: info.sizeBytes });
  }

  /** The process has ended: the next must lead under a later epoch. */
  processEnded(): void {
    this.#pastEpoch = Math.max(this.#pastEpoch, this.#epoch);
  }

  /** What retention took must have been old enough, or more than the topic keeps. */
  #sawLogStart(logStartOffset: number, seen: { floor: Floor; sizeBytes: number | null }): void {
    if (logStartOffset < seen.floor.logStartOffset && !this.machine.mayBeBehind) {
      this.#broken(`the log start fell from ${seen.floor.logStartOffset} to ${logStartOffset}`);
    }
    for (let offset = this.logStartOffset; offset < logStartOffset; offset++) {
      const value = this.#ackedValues.get(offset);
      if (value === undefined || this.#mayBeDropped(value, seen.sizeBytes)) continue;
      this.#broken(
        `I1: retention took ${value} at ${offset}, of ${seen.sizeBytes} bytes, too early`,
      );
    }
    this.logStartOffset = Math.max(this.logStartOffset, logStartOffset);
  }

  #mayBeDropped(value: string, sizeBytes: number | null): boolean {
    const { retentionHours, retentionBytes } = this.topic.config;
    if (retentionBytes !== null && (sizeBytes === null || sizeBytes >= retentionBytes)) return true;
    if (retentionHours === 0) return false;
    // A process that starts with a clock that is ahead cannot know.
    const ageMs = this.world.time.monotonic() - this.#sentAt.get(value)!;
    return ageMs >= retentionHours * HOUR_MS - this.machine.worstStartErrorMs;
  }

  /** An answer to a fetch from `offset`, asked for when the high watermark was `floor`; the offset to go on from. */
  shown(offset: number, result: FetchResult, floor: Floor): number {
    this.#sawHighWatermark(result.highWatermark, floor.highWatermark);
    this.#sawLogStart(result.logStartOffset, { floor, sizeBytes: null });
    let next = -1;
    let epoch = -1;
    for (const { at } of batchSpans(result.batches)) {
      const base = baseOffsetAt(result.batches, at);
      if (next < 0 ? base > offset : base !== next) {
        this.#broken(`I2: a fetch at ${offset} shows a batch at ${base} after ${next}`);
      }
      next = base + lastOffsetDeltaAt(result.batches, at) + 1;
      const batchEpoch = leaderEpochAt(result.batches, at);
      if (batchEpoch < epoch) {
        this.#broken(`leader epoch ${batchEpoch} at ${base} after ${epoch}`);
      }
      epoch = batchEpoch;
    }
    if (next > result.highWatermark) {
      this.#broken(`I3: shown up to ${next}, above the high watermark ${result.highWatermark}`);
    }
    for (const seen of valuesIn(result.batches)) this.#checkShown(seen);
    return Math.max(offset, next);
  }

  #checkShown(seen: Seen): void {
    if (!this.#sentAt.has(seen.value)) this.#broken(`I2: ${seen.value} was never sent here`);
    this.#report(this.#acks.shown(seen));
  }

  /** All of the partition from `from` to `to`, as one reader was shown it. */
  checkAll(from: number, read: readonly Seen[], to: number): void {
    this.#report(this.#acks.check(PARTITION, from, read, to));
  }

  #report(violations: readonly string[]): void {
    for (const violation of violations) this.#broken(violation);
  }

  #broken(what: string): void {
    this.world.violation(`${this.name}: ${what}`);
  }
}
