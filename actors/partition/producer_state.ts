// Owns what a partition knows of one producer, and the rules of its sequence numbers and epochs (Kafka's, KIP-98).
// Refuses to own the table of all producers (producer_table.ts) and open transactions' effect on readers (transaction_index.ts).
// Invariant: pure; evolving is total, so that folding the log's headers gives what deciding had given.
import { BrokerError } from "../../storage/broker_error.ts";

/** Sequence numbers count modulo this: after 2^31 - 1 comes 0. */
const SEQUENCES = 0x8000_0000;
/** Stretches of sequence numbers kept of one producer: Kafka keeps as many batches. */
export const MAX_RUNS = 5;
/** Records of one stretch that can still be told as repeats; far below `SEQUENCES`, so that a wrap is no repeat. */
export const MAX_RUN_RECORDS = 1_048_576;

/** What the header of a batch says of its producer. */
export interface ProducerBatch {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly recordCount: number;
  readonly transactional: boolean;
}

/** Records with successive sequence numbers at successive offsets; batches that follow each other make one. */
export interface SequenceRun {
  readonly firstSequence: number;
  readonly firstOffset: number;
  readonly recordCount: number;
}

export interface ProducerEntry {
  readonly epoch: number;
  /** The sequence number that must come next. */
  readonly nextSequence: number;
  /** Oldest first, of the current epoch only. */
  readonly runs: readonly SequenceRun[];
  /** First offset of the open transaction, -1 when there is none. */
  readonly transactionOffset: number;
  /** Transactions of this epoch and all before are over, -1 when there was none. */
  readonly endedEpoch: number;
  /** Of the coordinator that wrote the last marker, -1 when there was none. */
  readonly coordinatorEpoch: number;
  /** Monotonic time of the last append, ms. */
  readonly touchedAt: number;
}

/** An end of a transaction, as its coordinator asks for it. */
export interface MarkerCommand {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly coordinatorEpoch: number;
  readonly commit: boolean;
}

export type ProducerEvent =
  | {
    readonly type: "ProducerAppended";
    readonly batch: ProducerBatch;
    readonly baseOffset: number;
    readonly at: number;
  }
  | {
    readonly type: "MarkerAppended";
    readonly marker: MarkerCommand;
    readonly offset: number;
    readonly at: number;
  };

/** Looks a producer up. */
export interface ProducerView {
  get(producerId: number): ProducerEntry | undefined;
}

/**
 * The offset that the batch has got already, or null when it is new and may be appended.
 * Throws PRODUCER_FENCED (`currentEpoch`), OUT_OF_ORDER_SEQUENCE (`expectedSequence`), INVALID_TRANSACTION_STATE.
 * Unlike Kafka's brokers, which take any first sequence of a producer they have forgotten, it must begin with 0: a
 * producer that was forgotten might else have a repeat stored twice without knowing.
 */
export function decideSequence(
  entry: ProducerEntry | undefined,
  batch: ProducerBatch,
  partition: string,
): number | null {
  const { producerId, producerEpoch, baseSequence } = batch;
  if (entry !== undefined && producerEpoch < entry.epoch) throw fenced(entry, batch, partition);
  const known = entry?.epoch === producerEpoch ? entry : undefined;
  const duplicateOf = known === undefined ? null : storedAt(known.runs, batch);
  if (duplicateOf !== null) return duplicateOf;
  const expectedSequence = known?.nextSequence ?? 0;
  if (baseSequence !== expectedSequence) {
    throw new BrokerError(
      "OUT_OF_ORDER_SEQUENCE",
      `producer ${producerId} sends sequence ${baseSequence} to ${partition}, ${expectedSequence} must come next`,
      { producerId, producerEpoch, sequence: baseSequence, expectedSequence },
    );
  }
  if (entry !== undefined) checkTransaction(entry, batch, partition);
  return null;
}

function checkTransaction(entry: ProducerEntry, batch: ProducerBatch, partition: string): void {
  const { producerId, producerEpoch, transactional } = batch;
  const isOpen = entry.transactionOffset >= 0;
  const refuse = (why: string) => {
    throw new BrokerError(
      "INVALID_TRANSACTION_STATE",
      `producer ${producerId} appends to ${partition} ${why}`,
      { producerId, producerEpoch },
    );
  };
  if (isOpen && !transactional) refuse("outside of its open transaction");
  if (isOpen && producerEpoch !== entry.epoch) refuse("while an older epoch's transaction is open");
  // What comes late must not open again what its coordinator has ended: nobody would ever end that.
  if (transactional && producerEpoch <= entry.endedEpoch) refuse("after its transaction has ended");
}

/** Offset of the batch's first record when all of it is known. */
function storedAt(runs: readonly SequenceRun[], batch: ProducerBatch): number | null {
  for (let index = runs.length - 1; index >= 0; index--) {
    const run = runs[index]!;
    const into = distance(run.firstSequence, batch.baseSequence);
    if (into + batch.recordCount <= run.recordCount) return run.firstOffset + into;
  }
  return null;
}

/**
 * Whether the marker must be written; false when the partition has it already, or a later one.
 * Throws STALE_EPOCH for one of a coordinator that has been replaced. A marker is written even where the transaction has
 * no record: it keeps out the late ones.
 */
export function decideMarker(entry: ProducerEntry | undefined, marker: MarkerCommand): boolean {
  if (entry === undefined) return true;
  if (marker.coordinatorEpoch < entry.coordinatorEpoch) {
    throw new BrokerError(
      "STALE_EPOCH",
      `marker of coordinator epoch ${marker.coordinatorEpoch} for producer ${marker.producerId}, the current one is ${entry.coordinatorEpoch}`,
      { currentEpoch: entry.coordinatorEpoch },
    );
  }
  if (marker.producerEpoch < entry.epoch) return false;
  return entry.transactionOffset >= 0 || marker.producerEpoch > entry.endedEpoch;
}

/** The producer after `event`; total. */
export function evolveProducer(
  entry: ProducerEntry | undefined,
  event: ProducerEvent,
): ProducerEntry {
  return event.type === "ProducerAppended" ? appended(entry, event) : ended(entry, event);
}

function appended(
  entry: ProducerEntry | undefined,
  { batch, baseOffset, at }: Extract<ProducerEvent, { type: "ProducerAppended" }>,
): ProducerEntry {
  const { producerEpoch, baseSequence, recordCount, transactional } = batch;
  const runs = entry?.epoch === producerEpoch ? entry.runs : [];
  const openOffset = entry?.transactionOffset ?? -1;
  return {
    epoch: producerEpoch,
    nextSequence: (baseSequence + recordCount) % SEQUENCES,
    runs: withBatch(runs, { firstSequence: baseSequence, firstOffset: baseOffset, recordCount }),
    transactionOffset: transactional && openOffset < 0 ? baseOffset : openOffset,
    endedEpoch: entry?.endedEpoch ?? -1,
    coordinatorEpoch: entry?.coordinatorEpoch ?? -1,
    touchedAt: at,
  };
}

function ended(
  entry: ProducerEntry | undefined,
  { marker, at }: Extract<ProducerEvent, { type: "MarkerAppended" }>,
): ProducerEntry {
  const isSame = entry?.epoch === marker.producerEpoch;
  return {
    epoch: marker.producerEpoch,
    nextSequence: isSame ? entry.nextSequence : 0,
    runs: isSame ? entry.runs : [],
    transactionOffset: -1,
    endedEpoch: marker.producerEpoch,
    coordinatorEpoch: marker.coordinatorEpoch,
    touchedAt: at,
  };
}

function withBatch(runs: readonly SequenceRun[], batch: SequenceRun): readonly SequenceRun[] {
  const last = runs[runs.length - 1];
  const follows = last !== undefined &&
    batch.firstOffset === last.firstOffset + last.recordCount &&
    batch.firstSequence === (last.firstSequence + last.recordCount) % SEQUENCES;
  if (!follows) return runs.length < MAX_RUNS ? [...runs, batch] : [...runs.slice(1), batch];
  const longer = { ...last, recordCount: last.recordCount + batch.recordCount };
  return [...runs.slice(0, -1), shortened(longer, batch.recordCount)];
}

/** Keeps the newest records of a run, its last batch in any case. */
function shortened(run: SequenceRun, lastBatchRecords: number): SequenceRun {
  const surplus = run.recordCount - Math.max(MAX_RUN_RECORDS, lastBatchRecords);
  if (surplus <= 0) return run;
  return {
    firstSequence: (run.firstSequence + surplus) % SEQUENCES,
    firstOffset: run.firstOffset + surplus,
    recordCount: run.recordCount - surplus,
  };
}

/** How far `to` comes after `from`, counting past the wrap. */
function distance(from: number, to: number): number {
  return to >= from ? to - from : to - from + SEQUENCES;
}

function fenced(entry: ProducerEntry, batch: ProducerBatch, partition: string): BrokerError {
  const { producerId, producerEpoch } = batch;
  return new BrokerError(
    "PRODUCER_FENCED",
    `producer ${producerId} appends to ${partition} under epoch ${producerEpoch}, the current one is ${entry.epoch}`,
    { producerId, producerEpoch, currentEpoch: entry.epoch },
  );
}
