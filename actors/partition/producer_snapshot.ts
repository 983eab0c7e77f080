// Owns how a partition's producers and transactions are written as a snapshot and read back.
// Refuses to own when that happens (partition_producers.ts).
// Invariant: bytes that are not wholly understood give nothing at all: the log is read instead.
import type { AbortedTransaction } from "../../storage/log.ts";
import type { ProducerEntry, SequenceRun } from "./producer_state.ts";
import type { EndedTransaction } from "./transaction_index.ts";

export const PRODUCER_SNAPSHOT_VERSION = 1;
const RUN_FIELDS = 3;
const ENTRY_FIELDS = 7;

export interface ProducerSnapshot {
  /** Least recently used first. */
  readonly producers: readonly (readonly [number, ProducerEntry])[];
  readonly aborted: readonly AbortedTransaction[];
  readonly ended: readonly EndedTransaction[];
}

/** Times are kept as how long ago they were at monotonic time `now`: clocks of two lives have nothing in common. */
export function encodeProducers(snapshot: ProducerSnapshot, now: number): Uint8Array {
  const producers = snapshot.producers.map(([producerId, entry]) => [
    producerId,
    entry.epoch,
    entry.nextSequence,
    entry.transactionOffset,
    entry.endedEpoch,
    entry.coordinatorEpoch,
    Math.max(0, Math.round(now - entry.touchedAt)),
    ...entry.runs.flatMap((run) => [run.firstSequence, run.firstOffset, run.recordCount]),
  ]);
  const aborted = snapshot.aborted.map((each) => [
    each.producerId,
    each.firstOffset,
    each.lastOffset,
  ]);
  const ended = snapshot.ended.map((each) => [each.firstOffset, each.markerOffset]);
  return new TextEncoder().encode(JSON.stringify({ producers, aborted, ended }));
}

/** Null for what is no such snapshot. */
export function decodeProducers(bytes: Uint8Array, now: number): ProducerSnapshot | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    const data = JSON.parse(text) as Record<"producers" | "aborted" | "ended", unknown>;
    return {
      producers: rowsOf(data.producers, ENTRY_FIELDS).map((row) => producerOf(row, now)),
      aborted: rowsOf(data.aborted, 3).map(([producerId, firstOffset, lastOffset]) => ({
        producerId: producerId!,
        firstOffset: firstOffset!,
        lastOffset: lastOffset!,
      })),
      ended: rowsOf(data.ended, 2).map(([firstOffset, markerOffset]) => ({
        firstOffset: firstOffset!,
        markerOffset: markerOffset!,
      })),
    };
  } catch {
    return null;
  }
}

function producerOf(row: readonly number[], now: number): [number, ProducerEntry] {
  const [producerId, epoch, nextSequence, transactionOffset, endedEpoch] = row as number[];
  if ((row.length - ENTRY_FIELDS) % RUN_FIELDS !== 0) throw new Error("half a run");
  const runs: SequenceRun[] = [];
  for (let at = ENTRY_FIELDS; at < row.length; at += RUN_FIELDS) {
    runs.push({
      firstSequence: row[at]!,
      firstOffset: row[at + 1]!,
      recordCount: row[at + 2]!,
    });
  }
  return [producerId!, {
    epoch: epoch!,
    nextSequence: nextSequence!,
    runs,
    transactionOffset: transactionOffset!,
    endedEpoch: endedEpoch!,
    coordinatorEpoch: row[5]!,
    touchedAt: now - row[6]!,
  }];
}

/** Lists of at least `minFields` safe integers each. Throws for anything else. */
function rowsOf(data: unknown, minFields: number): number[][] {
  const good = Array.isArray(data) &&
    data.every((row) =>
      Array.isArray(row) && row.length >= minFields && row.every(Number.isSafeInteger)
    );
  if (!good) throw new Error("not rows of integers");
  return data as number[][];
}
