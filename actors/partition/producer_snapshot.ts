// Owns how a partition's producers and transactions are written as a snapshot and read back.
// Refuses to own when that happens (partition_producers.ts).
// Invariant: bytes that are not wholly understood give nothing at all: the log is read instead.
import type { AbortedTransaction } from "../../storage/log.ts";
import type { ProducerEntry, SequenceRun } from "./producer_state.ts";
import type { EndedTransaction } from "./transaction_index.ts";

export const PRODUCER_SNAPSHOT_VERSION = 1;
const NUMBER_BYTES = 8;
const COUNTS = 3;
/** Numbers of a producer beside its runs, of a run, of an aborted and of an ended transaction. */
const ENTRY_NUMBERS = 8;
const RUN_NUMBERS = 3;
const ABORTED_NUMBERS = 3;
const ENDED_NUMBERS = 2;

export interface ProducerSnapshot {
  /** Least recently used first. */
  readonly producers: readonly (readonly [number, ProducerEntry])[];
  readonly aborted: readonly AbortedTransaction[];
  readonly ended: readonly EndedTransaction[];
}

/**
 * Numbers of 64 bits behind each other: as text, 10,000 producers would hold up everybody else for a tenth of a second.
 * Times are kept as how long ago they were at monotonic time `now`: clocks of two lives have nothing in common.
 */
export function encodeProducers(snapshot: ProducerSnapshot, now: number): Uint8Array {
  const { producers, aborted, ended } = snapshot;
  const out = new NumberWriter(numbersOf(snapshot));
  out.put(producers.length, aborted.length, ended.length);
  for (const [producerId, entry] of producers) {
    out.put(producerId, entry.epoch, entry.nextSequence, entry.transactionOffset);
    out.put(entry.endedEpoch, entry.coordinatorEpoch);
    out.put(Math.max(0, Math.round(now - entry.touchedAt)), entry.runs.length);
    for (const run of entry.runs) out.put(run.firstSequence, run.firstOffset, run.recordCount);
  }
  for (const each of aborted) out.put(each.producerId, each.firstOffset, each.lastOffset);
  for (const each of ended) out.put(each.firstOffset, each.markerOffset);
  return out.bytes;
}

/** Null for what is no such snapshot. */
export function decodeProducers(bytes: Uint8Array, now: number): ProducerSnapshot | null {
  const from = new NumberReader(bytes);
  try {
    const [producers, aborted, ended] = [from.count(), from.count(), from.count()];
    const snapshot = {
      producers: listOf(producers, () => producerOf(from, now)),
      aborted: listOf(aborted, () => ({
        producerId: from.next(),
        firstOffset: from.next(),
        lastOffset: from.next(),
      })),
      ended: listOf(ended, () => ({ firstOffset: from.next(), markerOffset: from.next() })),
    };
    return from.isAtEnd ? snapshot : null;
  } catch (error) {
    if (error instanceof NotASnapshot) return null;
    throw error;
  }
}

class NotASnapshot extends Error {}

function numbersOf({ producers, aborted, ended }: ProducerSnapshot): number {
  let numbers = COUNTS + aborted.length * ABORTED_NUMBERS + ended.length * ENDED_NUMBERS;
  for (const [, { runs }] of producers) numbers += ENTRY_NUMBERS + runs.length * RUN_NUMBERS;
  return numbers;
}

function producerOf(from: NumberReader, now: number): [number, ProducerEntry] {
  const producerId = from.next();
  const entry = {
    epoch: from.next(),
    nextSequence: from.next(),
    transactionOffset: from.next(),
    endedEpoch: from.next(),
    coordinatorEpoch: from.next(),
    touchedAt: now - from.next(),
    runs: listOf(from.count(), (): SequenceRun => ({
      firstSequence: from.next(),
      firstOffset: from.next(),
      recordCount: from.next(),
    })),
  };
  return [producerId, entry];
}

function listOf<T>(count: number, make: () => T): T[] {
  const list: T[] = [];
  for (let index = 0; index < count; index++) list.push(make());
  return list;
}

class NumberWriter {
  readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;

  constructor(numbers: number) {
    this.bytes = new Uint8Array(numbers * NUMBER_BYTES);
    this.view = new DataView(this.bytes.buffer);
  }

  put(...numbers: number[]): void {
    for (const number of numbers) {
      this.view.setFloat64(this.at, number);
      this.at += NUMBER_BYTES;
    }
  }
}

/** Throws NotASnapshot for what is no safe integer, and beyond the end. */
class NumberReader {
  private readonly view: DataView;
  private at = 0;

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.at === this.view.byteLength;
  }

  next(): number {
    if (this.at + NUMBER_BYTES > this.view.byteLength) throw new NotASnapshot();
    const number = this.view.getFloat64(this.at);
    if (!Number.isSafeInteger(number)) throw new NotASnapshot();
    this.at += NUMBER_BYTES;
    return number;
  }

  /** A number of things of which each takes at least one number more. */
  count(): number {
    const count = this.next();
    if (count < 0 || count * NUMBER_BYTES > this.view.byteLength) throw new NotASnapshot();
    return count;
  }
}
