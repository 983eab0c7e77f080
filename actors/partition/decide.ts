// Owns every decision of a partition: which offsets an append gets, who may append, what readers may see.
// Refuses to own bytes, disk and waiting readers (partition.ts).
// Invariant: pure; logStartOffset <= highWatermark <= logEndOffset, and the high watermark is never above what every
// in-sync replica has flushed. The record batches themselves are the journal: an event here says only what they moved.
import { BrokerError } from "../../storage/broker_error.ts";

export interface PartitionState {
  /** For messages and ids, for example `orders/3`. */
  readonly name: string;
  readonly leaderEpoch: number;
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  readonly highWatermark: number;
  /** Flushed end by node id, of the in-sync replicas only. */
  readonly flushedOffsets: ReadonlyMap<string, number>;
}

export type PartitionEvent =
  | { readonly type: "BatchesAppended"; readonly logEndOffset: number }
  | { readonly type: "ReplicaFlushed"; readonly nodeId: string; readonly flushedOffset: number }
  | { readonly type: "LogStartRaised"; readonly logStartOffset: number };

/** The state of a leader that has just opened its log: everything on it is flushed. */
export function openedPartition(options: {
  name: string;
  nodeId: string;
  leaderEpoch: number;
  logStartOffset: number;
  flushedOffset: number;
}): PartitionState {
  const { name, nodeId, leaderEpoch, logStartOffset, flushedOffset } = options;
  return {
    name,
    leaderEpoch,
    logStartOffset,
    logEndOffset: flushedOffset,
    highWatermark: flushedOffset,
    flushedOffsets: new Map([[nodeId, flushedOffset]]),
  };
}

/**
 * Base offsets for batches with these last offset deltas, and the events that follow.
 * Throws STALE_EPOCH when the sender takes an older leader for the current one.
 */
export function decideAppend(
  state: PartitionState,
  command: { leaderEpoch: number; lastOffsetDeltas: readonly number[] },
): { baseOffsets: number[]; events: PartitionEvent[] } {
  if (command.leaderEpoch !== state.leaderEpoch) {
    throw new BrokerError(
      "STALE_EPOCH",
      `append to ${state.name} under leader epoch ${command.leaderEpoch}, the current one is ${state.leaderEpoch}`,
      { currentEpoch: state.leaderEpoch },
    );
  }
  let next = state.logEndOffset;
  const baseOffsets = command.lastOffsetDeltas.map((delta) => {
    const base = next;
    next += delta + 1;
    return base;
  });
  if (!Number.isSafeInteger(next)) throw new Error(`${state.name} has run out of offsets`);
  return { baseOffsets, events: [{ type: "BatchesAppended", logEndOffset: next }] };
}

/** The state after `event`; total. */
export function evolvePartition(state: PartitionState, event: PartitionEvent): PartitionState {
  switch (event.type) {
    case "BatchesAppended":
      return { ...state, logEndOffset: event.logEndOffset };
    case "ReplicaFlushed": {
      const flushedOffsets = new Map(state.flushedOffsets);
      flushedOffsets.set(event.nodeId, event.flushedOffset);
      const lowest = Math.min(...flushedOffsets.values(), state.logEndOffset);
      return {
        ...state,
        flushedOffsets,
        highWatermark: Math.max(state.highWatermark, lowest),
      };
    }
    case "LogStartRaised":
      return {
        ...state,
        logStartOffset: Math.max(state.logStartOffset, event.logStartOffset),
      };
  }
}

/** Throws OFFSET_OUT_OF_RANGE, with the valid range, for an offset no reader may ask for. */
export function checkFetchOffset(state: PartitionState, offset: number): void {
  if (offset >= state.logStartOffset && offset <= state.highWatermark) return;
  throw new BrokerError(
    "OFFSET_OUT_OF_RANGE",
    `offset ${offset} of ${state.name} is outside ${state.logStartOffset} to ${state.highWatermark}`,
    { logStartOffset: state.logStartOffset, highWatermark: state.highWatermark },
  );
}
