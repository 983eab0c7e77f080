// Owns every decision of a partition: which offsets an append gets, who may append, what readers may see.
// Refuses to own bytes, disk and waiting readers (partition.ts).
// Invariant: pure; logStartOffset <= highWatermark <= logEndOffset, and the high watermark is never above what every
// in-sync replica has flushed. The record batches themselves are the journal: an event here says only what they moved.
import { BrokerError } from "../../storage/broker_error.ts";
import {
  decideMarker,
  decideSequence,
  type MarkerCommand,
  type ProducerBatch,
  type ProducerEvent,
  type ProducerView,
} from "./producer_state.ts";
import { ProducerDraft } from "./producer_table.ts";

export interface PartitionState {
  /** For messages and ids, for example `orders/3`. */
  readonly name: string;
  readonly leaderEpoch: number;
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  readonly highWatermark: number;
  /** Log end when this leader epoch began: all that may ever have been acknowledged before it lies below. */
  readonly epochStartOffset: number;
  /** Flushed end by node id, of the in-sync replicas and of those that are about to join them. */
  readonly flushedOffsets: ReadonlyMap<string, number>;
  /** In-sync replicas, as far as that is decided for the whole cluster. */
  readonly inSyncCount: number;
  /** With fewer of them the high watermark does not rise. */
  readonly minInsync: number;
}

export type PartitionEvent =
  | { readonly type: "BatchesAppended"; readonly logEndOffset: number }
  | { readonly type: "ReplicaFlushed"; readonly nodeId: string; readonly flushedOffset: number }
  | {
    readonly type: "InSyncChanged";
    readonly inSync: readonly string[];
    readonly joining: readonly string[];
    readonly minInsync: number;
  }
  | { readonly type: "LogStartRaised"; readonly logStartOffset: number };

/** What a replica that leads begins with. */
export interface LeaderStart {
  readonly name: string;
  readonly nodeId: string;
  readonly leaderEpoch: number;
  readonly logStartOffset: number;
  readonly flushedOffset: number;
  /** Of the high watermark, from before; default: nothing. */
  readonly knownHighWatermark?: number;
  /** Default: this node alone. */
  readonly inSync?: readonly string[];
  readonly minInsync?: number;
}

/** The state of a leader that has just opened its log: everything on it is flushed, nothing is known of the others. */
export function openedPartition(start: LeaderStart): PartitionState {
  const { name, nodeId, leaderEpoch, logStartOffset, flushedOffset } = start;
  const { knownHighWatermark = 0, inSync = [nodeId], minInsync = 1 } = start;
  const opened: PartitionState = {
    name,
    leaderEpoch,
    logStartOffset,
    logEndOffset: flushedOffset,
    highWatermark: Math.min(flushedOffset, Math.max(logStartOffset, knownHighWatermark)),
    epochStartOffset: flushedOffset,
    flushedOffsets: new Map(inSync.map((member) => [member, UNKNOWN_OFFSET])),
    inSyncCount: inSync.length,
    minInsync,
  };
  return evolvePartition(opened, { type: "ReplicaFlushed", nodeId, flushedOffset });
}

/** Of a replica that has acknowledged nothing to this leader in this epoch. */
const UNKNOWN_OFFSET = -1;

/** All that may have been acknowledged before this epoch began is known to be everywhere. */
export function isSettled({ highWatermark, epochStartOffset }: PartitionState): boolean {
  return highWatermark >= epochStartOffset;
}

export interface AppendDecision {
  readonly baseOffsets: number[];
  /** By batch: true for a repeat, which has its first offset and must not be written again. */
  readonly duplicates: readonly boolean[];
  readonly events: PartitionEvent[];
  readonly producerEvents: readonly ProducerEvent[];
}

/**
 * Base offsets for batches with these last offset deltas, and the events that follow.
 * Throws STALE_EPOCH when the sender takes an older leader for the current one.
 */
export function decideAppend(
  state: PartitionState,
  command: { leaderEpoch: number; lastOffsetDeltas: readonly number[] },
): AppendDecision {
  checkLeaderEpoch(state, command.leaderEpoch);
  let next = state.logEndOffset;
  const baseOffsets = command.lastOffsetDeltas.map((delta) => {
    const base = next;
    next += delta + 1;
    return base;
  });
  return {
    baseOffsets,
    duplicates: baseOffsets.map(() => false),
    events: appendedUpTo(state, next),
    producerEvents: [],
  };
}

/**
 * The same for batches of which some name their producer: a repeat gets its first offset, and what one batch is refused
 * for refuses all. Throws PRODUCER_FENCED, OUT_OF_ORDER_SEQUENCE, INVALID_TRANSACTION_STATE, OVERLOADED besides.
 */
export function decideProducerAppend(
  state: PartitionState,
  command: {
    leaderEpoch: number;
    batches: readonly { lastOffsetDelta: number; producer: ProducerBatch | null }[];
    /** Monotonic, ms. */
    at: number;
    /** Whether a further transaction may be opened. */
    mayOpen: boolean;
  },
  producers: ProducerView,
): AppendDecision {
  checkLeaderEpoch(state, command.leaderEpoch);
  const draft = new ProducerDraft(producers);
  let next = state.logEndOffset;
  const baseOffsets: number[] = [];
  const duplicates: boolean[] = [];
  for (const { lastOffsetDelta, producer } of command.batches) {
    const first = producer === null
      ? null
      : decideSequence(draft.get(producer.producerId), producer, state.name);
    baseOffsets.push(first ?? next);
    duplicates.push(first !== null);
    if (first !== null) continue;
    if (producer !== null) {
      const { at, mayOpen } = command;
      const open = draft.get(producer.producerId)?.transactionOffset ?? -1;
      if (producer.transactional && open < 0 && !mayOpen) throw tooManyTransactions(state);
      draft.apply({ type: "ProducerAppended", batch: producer, baseOffset: next, at });
    }
    next += lastOffsetDelta + 1;
  }
  const events = next === state.logEndOffset ? [] : appendedUpTo(state, next);
  return { baseOffsets, duplicates, events, producerEvents: draft.events };
}

/** Whether and where the marker is appended: no base offset when the transaction has ended here before. */
export function decideMarkerAppend(
  state: PartitionState,
  command: { leaderEpoch: number; marker: MarkerCommand; at: number },
  producers: ProducerView,
): AppendDecision {
  const { leaderEpoch, marker, at } = command;
  checkLeaderEpoch(state, leaderEpoch);
  if (!decideMarker(producers.get(marker.producerId), marker)) {
    return { baseOffsets: [], duplicates: [], events: [], producerEvents: [] };
  }
  const offset = state.logEndOffset;
  return {
    baseOffsets: [offset],
    duplicates: [false],
    events: appendedUpTo(state, offset + 1),
    producerEvents: [{ type: "MarkerAppended", marker, offset, at }],
  };
}

function tooManyTransactions(state: PartitionState): BrokerError {
  return new BrokerError(
    "OVERLOADED",
    `${state.name} remembers too many aborted transactions to open another one`,
  );
}

function checkLeaderEpoch(state: PartitionState, leaderEpoch: number): void {
  if (leaderEpoch === state.leaderEpoch) return;
  throw new BrokerError(
    "STALE_EPOCH",
    `append to ${state.name} under leader epoch ${leaderEpoch}, the current one is ${state.leaderEpoch}`,
    { currentEpoch: state.leaderEpoch },
  );
}

function appendedUpTo(state: PartitionState, logEndOffset: number): PartitionEvent[] {
  if (!Number.isSafeInteger(logEndOffset)) throw new Error(`${state.name} has run out of offsets`);
  return [{ type: "BatchesAppended", logEndOffset }];
}
/** The state after `event`; total. */
export function evolvePartition(state: PartitionState, event: PartitionEvent): PartitionState {
  switch (event.type) {
    case "BatchesAppended":
      return { ...state, logEndOffset: event.logEndOffset };
    case "ReplicaFlushed": {
      const flushedOffsets = new Map(state.flushedOffsets);
      flushedOffsets.set(event.nodeId, event.flushedOffset);
      return withHighWatermark({ ...state, flushedOffsets });
    }
    case "InSyncChanged": {
      const { inSync, joining, minInsync } = event;
      const flushedOffsets = new Map(
        [...inSync, ...joining].map((nodeId) =>
          [nodeId, state.flushedOffsets.get(nodeId) ?? UNKNOWN_OFFSET] as const
        ),
      );
      return withHighWatermark({
        ...state,
        flushedOffsets,
        inSyncCount: inSync.length,
        minInsync,
      });
    }
    case "LogStartRaised":
      return {
        ...state,
        logStartOffset: Math.max(state.logStartOffset, event.logStartOffset),
      };
  }
}

/** The lowest flushed end of all that count; it never falls, and rises only where enough are in sync. */
function withHighWatermark(state: PartitionState): PartitionState {
  if (state.inSyncCount < state.minInsync) return state;
  const lowest = Math.min(...state.flushedOffsets.values(), state.logEndOffset);
  return lowest > state.highWatermark ? { ...state, highWatermark: lowest } : state;
}

/**
 * Throws OFFSET_OUT_OF_RANGE, with the valid range, for an offset no reader may ask for. What lies below the start of the
 * epoch may have been read from the leader before, so who asks for it waits until this one knows as much.
 */
export function checkFetchOffset(state: PartitionState, offset: number): void {
  const end = Math.max(state.highWatermark, state.epochStartOffset);
  if (offset >= state.logStartOffset && offset <= end) return;
  throw new BrokerError(
    "OFFSET_OUT_OF_RANGE",
    `offset ${offset} of ${state.name} is outside ${state.logStartOffset} to ${state.highWatermark}`,
    { logStartOffset: state.logStartOffset, highWatermark: state.highWatermark },
  );
}
